"""Small pictures and films of known content, in memory."""

import io
import struct
import tempfile
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

RED = (200, 30, 30)


def picture(seed=0, height=40, width=56):
    """(H, W, 3) uint8: a red picture with a blue upper left quarter, a little different for each seed."""
    rng = np.random.default_rng(seed)
    x = np.empty((height, width, 3), np.uint8)
    x[:] = RED
    x[: height // 2, : width // 2] = (30, 30, 200)
    return np.clip(x + rng.integers(-8, 9, x.shape), 0, 255).astype(np.uint8)


def encoded(pixels, form="PNG", **options):
    """Pixels, or a PIL image, as the bytes of a file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def frames(count=24, side=64):
    """(F, side, side, 3) uint8: frame k has a grey of its own, so that it can be told after a codec."""
    return np.stack([np.full((side, side, 3), 20 + 8 * k, np.uint8) for k in range(count)])


def number_of(frame):
    """Which of `frames` a decoded one is."""
    return round((float(frame.mean()) - 20) / 8)


def film(
    pixels, form="mp4", codec="libx264", rate=8, times=None, rotation=None, gop=6, ratio=None, **container
):
    """Frames as the bytes of a film; `times` are in thousandths of a second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film")
        _write(path, pixels, form, codec, rate, times, rotation, gop, ratio, container)
        return path.read_bytes()


def _write(path, pixels, form, codec, rate, times, rotation, gop, ratio, container):
    with av.open(str(path), "w", format=form, options=container) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.height, stream.width = pixels.shape[1:3]
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = {"crf": "8", "g": str(gop), "bf": "2" if times is None else "0"}
        elif codec != "gif":
            stream.gop_size = gop
            stream.options = {"qscale": "2", "b": "2000000"}
        if ratio is not None:
            stream.codec_context.sample_aspect_ratio = Fraction(ratio)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, array in enumerate(pixels):
            frame = av.VideoFrame.from_ndarray(array, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            out.mux(stream.encode(frame))
        if len(pixels):
            out.mux(stream.encode())


def sound():
    """An MP4 with sound alone."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        for number in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 1024 * number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def huge_png(side=60_000):
    """A PNG of a few bytes whose header says that it is huge."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
