"""Makes a folder of raw pictures and films with captions, from the digits that scikit-learn ships.

    python -m benchmarks.make_raw_demo --out raw --images 2000 --videos 50

`raw/images` holds PNGs of several shapes and `raw/videos` MP4s, each file with its caption beside it in a `.txt`.  The
same arguments make the same pictures.
"""

import argparse
from pathlib import Path

import av
import numpy as np
from PIL import Image

from data_pipelines.raw import decode, fit, open_raw

ASPECTS = ((8, 8), (7, 9), (9, 7), (6, 11), (11, 6))  # rows and columns in eighths of a side
CODECS = ("libx264", "mpeg4")  # the first that this build of PyAV has


def make_images(folder: Path, count: int, side: int) -> None:
    """Writes PNGs of scans on black canvases of several shapes, which have about side * side pixels."""
    folder.mkdir(parents=True)
    source = open_raw("digits")
    for number in range(count):
        record = source[number % len(source)]
        rows, columns = (side * eighths // 8 for eighths in ASPECTS[number % len(ASPECTS)])
        digit = min(rows, columns) // (1 + number // len(source) % 2)  # the second time round smaller
        canvas = np.zeros((rows, columns, 3), np.uint8)
        rng = np.random.default_rng(number)
        top, left = rng.integers(0, rows - digit + 1), rng.integers(0, columns - digit + 1)
        canvas[top : top + digit, left : left + digit] = fit(decode(record), digit, digit)[0]
        Image.fromarray(canvas).save(folder / f"{number:05d}.png")
        (folder / f"{number:05d}.txt").write_text(f"{record.caption}\n")


def make_videos(folder: Path, count: int, side: int, frames: int, fps: int) -> None:
    """Writes MP4s of scans that move and bounce."""
    folder.mkdir(parents=True)
    codec = next(name for name in CODECS if name in av.codecs_available)
    source = open_raw("moving_digits", frames=frames, height=max(side // 4, 8), width=max(side // 4, 8))
    for number in range(count):
        record = source[number]
        pictures = fit(decode(record, frames=frames), side, side)
        with av.open(folder / f"{number:05d}.mp4", "w") as container:
            stream = container.add_stream(codec, rate=fps)
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
            stream.options = {"crf": "12", "g": "8"} if codec == "libx264" else {"g": "8", "qscale": "2"}
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        (folder / f"{number:05d}.txt").write_text(f"{record.caption}, moving\n")


def main() -> None:
    """Reads the command line and writes the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder, which must not exist")
    parser.add_argument("--images", type=int, default=2000, help="PNGs")
    parser.add_argument("--videos", type=int, default=50, help="MP4s")
    parser.add_argument(
        "--side", type=int, default=64, help="pixels, a multiple of 8: rows and columns of the films"
    )
    parser.add_argument("--frames", type=int, default=17, help="of a film")
    parser.add_argument("--fps", type=int, default=8, help="frames a second of a film")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"--out={options.out} exists; name a folder that does not")
    if options.side < 16 or options.side % 8 or min(options.frames, options.fps) < 1:
        parser.error("--side must be a multiple of 8 from 16 on, --frames and --fps 1 or more")
    if options.images > 0:
        make_images(options.out / "images", options.images, options.side)
    if options.videos > 0:
        make_videos(options.out / "videos", options.videos, options.side, options.frames, options.fps)
    print(f"{options.out}: {options.images} pictures, {options.videos} films")


if __name__ == "__main__":
    main()
