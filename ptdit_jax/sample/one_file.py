"""One sample a file: a PNG, an MP4, or a .npy of the same numbers 0..255; and back.

Shapes: F frames, H rows, W columns, C channels, 1 or 3.
"""

import fractions
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, PngImagePlugin

from ptdit_jax import files

FORMATS = (".png", ".mp4", ".npy")
SETTINGS = "settings"  # the name of a PNG's text
CODECS = ("libx264", "mpeg4")  # the first that this build of PyAV has


def write(path: Path, film: np.ndarray, facts: Mapping[str, Any], *, fps: float) -> None:
    """Write a sample whole or not at all.

    Args:
      path: ends in one of `FORMATS`.
      film: (F, H, W, C) uint8; a PNG has one frame.
      facts: plain values, kept in a PNG's text and an MP4's comment.
      fps: frames a second of an MP4.
    """
    writers = {".png": _write_png, ".mp4": _write_mp4, ".npy": _write_npy}
    files.write(path, lambda draft: writers[path.suffix](draft, film, json.dumps(dict(facts)), fps))


def _write_png(path: Path, film: np.ndarray, facts: str, fps: float) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt(SETTINGS, facts)
    (frame,) = film
    Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).save(path, "PNG", pnginfo=texts)


def _write_npy(path: Path, film: np.ndarray, facts: str, fps: float) -> None:
    with path.open("wb") as file:  # np.save would add a suffix
        np.save(file, film)


def _write_mp4(path: Path, film: np.ndarray, facts: str, fps: float) -> None:
    codec = next(name for name in CODECS if name in av.codecs_available)
    _, height, width, _ = film.shape
    film = np.pad(
        film, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge"
    )  # as colours are stored
    film = np.broadcast_to(film, (*film.shape[:3], 3))
    with av.open(str(path), "w", format="mp4") as container:
        container.metadata["comment"] = facts
        stream: Any = container.add_stream(codec, rate=fractions.Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = film.shape[2], film.shape[1], "yuv420p"
        stream.options = {"crf": "12", "threads": "1"} if codec == "libx264" else {"qscale": "2"}
        for frame in film:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def read(path: Path) -> np.ndarray:
    """The sample of a file that `write` made, (F, H, W, C) uint8; of an MP4 what its coding has left of it.

    Raises:
      ValueError: it is none.
      OSError: it cannot be read.
    """
    try:
        if path.suffix == ".npy":
            return np.load(path)
        if path.suffix == ".mp4":
            with av.open(str(path)) as container:
                return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    except (ValueError, SyntaxError, av.error.FFmpegError) as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    return pixels.reshape(1, *pixels.shape[:2], -1)
