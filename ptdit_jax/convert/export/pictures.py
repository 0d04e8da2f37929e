"""Samples as files: a .png, a .gif or an .mp4 of pixels, or a .npy of numbers; whole or not at all.

Shapes: N samples, C channels (1 or 3 of pixels), F frames, H height, W width.
"""

import importlib.util
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

STILL, FILMS, NUMBERS = (".png",), (".gif", ".mp4"), (".npy",)
SUFFIXES = (*STILL, *FILMS, *NUMBERS)
PACKAGES = {".png": ("PIL", "pillow"), ".gif": ("PIL", "pillow"), ".mp4": ("av", "av")}
ENLARGED = 4  # times at most that small samples are enlarged
SMALL = 256  # pixels of a side that are small
CODECS = ("libx264", "mpeg4")  # the first that this build of PyAV has


def check_out(path: Path, channels: int, *, pixels: bool) -> None:
    """That the samples can be written to a file, which may exist.

    Args:
      path: the file.
      channels: C of the samples.
      pixels: whether they are decoded to pixels.

    Raises:
      ValueError: the suffix is none of `SUFFIXES`, or the samples are no pixels, or a package lacks.
      OSError: it cannot be written.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"--out {path} must end with .png or .npy, or with .gif or .mp4 for films")
    if suffix in PACKAGES:
        if not pixels and channels not in (1, 3):
            raise ValueError(
                f"--out {path}: samples have {channels} channels, latents: write them with --out samples.npy, or give "
                "the folder of their autoencoder with --vae"
            )
        module, package = PACKAGES[suffix]
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"--out {path}: a {suffix} needs {package}: pip install -r requirements.txt")
    try:
        if path.is_dir():
            raise ValueError(f"--out {path} is a folder; name a file in it")
        if path.exists() and not path.is_file():
            raise ValueError(f"--out {path} is no ordinary file")
        draft = draft_of(path)
        draft.open("wb").close()  # the only answer that holds on every kind of disk
        draft.unlink()
    except OSError as error:
        raise OSError(f"--out {path} cannot be written: {error.strerror}") from error


def draft_of(path: Path) -> Path:
    """Where a file is written before it is moved to its place whole."""
    return path.with_name(f"unfinished-{path.name}")


def to_uint8(images: np.ndarray) -> np.ndarray:
    """[-1, 1] to 0..255, rounded, what is outside cut."""
    return np.rint((images.clip(-1, 1) + 1) * 127.5).astype(np.uint8)


def page(tiles: np.ndarray, columns: int) -> np.ndarray:
    """One picture (rows, columns, C) uint8 of tiles (N, H, W, C) uint8, small ones enlarged."""
    count, height, width, channels = tiles.shape
    rows = math.ceil(count / columns)
    paper = np.full((rows * columns, height, width, channels), 255, np.uint8)
    paper[:count] = tiles
    whole = paper.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    times = max(1, min(ENLARGED, SMALL // min(height, width)))
    return whole.reshape(rows * height, -1, channels).repeat(times, axis=0).repeat(times, axis=1)


def grid(images: np.ndarray) -> np.ndarray:
    """One picture (rows, columns, C) uint8 of samples (N, C, F, H, W) in [-1, 1]; a video takes a row."""
    count, channels, frames, height, width = images.shape
    tiles = to_uint8(images).transpose(0, 3, 2, 4, 1).reshape(count, height, frames * width, channels)
    return page(tiles, 1 if frames > 1 else math.ceil(math.sqrt(count)))


def films(images: np.ndarray) -> list[np.ndarray]:
    """The frames, F times (rows, columns, C) uint8, of a grid of samples (N, C, F, H, W) that all move."""
    columns = math.ceil(math.sqrt(len(images)))
    moving = to_uint8(images).transpose(2, 0, 3, 4, 1)  # (F, N, H, W, C)
    return [page(frame, columns) for frame in moving]


def write(images: np.ndarray, out: Path, settings: Mapping[str, Any], *, fps: float = 8.0) -> None:
    """Write samples (N, C, F, H, W) into a file.

    Args:
      images: pixels in [-1, 1]; for .npy anything.
      out: the file.
      settings: plain values by name, kept in the file: a text "settings" of a PNG, the comment of a GIF or an MP4.
      fps: frames a second of films.
    """
    draft, suffix = draft_of(out), out.suffix.lower()
    try:
        if suffix == ".npy":
            with draft.open("wb") as file:
                np.save(file, images)
        elif suffix == ".png":
            _write_png(grid(images), draft, settings)
        elif suffix == ".gif":
            _write_gif(films(images), draft, settings, fps)
        else:
            _write_mp4(films(images), draft, settings, fps)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _picture(pixels: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _write_png(pixels: np.ndarray, path: Path, settings: Mapping[str, Any]) -> None:
    from PIL import PngImagePlugin

    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("settings", json.dumps(settings, ensure_ascii=False))
    _picture(pixels).save(path, "PNG", pnginfo=texts)


def _write_gif(frames: list[np.ndarray], path: Path, settings: Mapping[str, Any], fps: float) -> None:
    first, *rest = map(_picture, frames)
    options = {"save_all": True, "append_images": rest, "duration": round(1000 / fps), "loop": 0}
    first.save(path, "GIF", comment=json.dumps(settings).encode(), **options)


def _write_mp4(frames: list[np.ndarray], path: Path, settings: Mapping[str, Any], fps: float) -> None:
    import fractions

    import av

    codec = next(name for name in CODECS if name in av.codecs_available)
    height, width = frames[0].shape[:2]
    even = ((0, height % 2), (0, width % 2), (0, 0))  # as its colours are stored
    with av.open(str(path), "w", format="mp4") as container:
        container.metadata["comment"] = json.dumps(settings, ensure_ascii=False)
        stream: Any = container.add_stream(codec, rate=fractions.Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.options = {"crf": "12"} if codec == "libx264" else {"qscale": "2"}
        for frame in frames:
            pixels = np.pad(frame, even, mode="edge")
            pixels = np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
