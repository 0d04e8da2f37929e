"""One sample a file: a PNG, an MP4, or a .npy of the same numbers 0..255; and back.

Shapes: F frames, H rows, W columns, C channels, 1 or 3.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from PIL import Image

from ptdit_jax import files
from ptdit_jax.plots import films
from ptdit_jax.plots import settings as metadata

FORMATS = (".png", ".mp4", ".npy")


def name(label: int, turn: int, suffix: str) -> str:
    """The file of a sample in a folder: PROMPT-SAMPLE.png, the number of its prompt or class and of it among those."""
    return f"{label:06d}-{turn:04d}{suffix}"


def write(path: Path, film: np.ndarray, settings: Mapping[str, Any], *, fps: float) -> None:
    """Write a sample whole or not at all.

    Args:
      path: ends in one of `FORMATS`.
      film: (F, H, W, C) uint8; a PNG has one frame.
      settings: see `plots.settings`; a .npy has no place for them.
      fps: frames a second of an MP4.
    """

    def make(draft: Path) -> None:
        if path.suffix == ".png":
            (frame,) = film
            picture(frame).save(draft, "PNG", **metadata.options(path, settings))
        elif path.suffix == ".mp4":
            films.write([picture(frame) for frame in film], draft, frames_per_second=fps, settings=settings)
        else:
            with draft.open("wb") as file:  # np.save would add a suffix
                np.save(file, film)

    files.write(path, make)


def picture(frame: np.ndarray) -> Image.Image:
    """A frame (H, W, C) uint8 as a picture, grey or RGB."""
    return Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame)


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
        with Image.open(path) as opened:
            pixels = np.asarray(opened)
    except (ValueError, SyntaxError, av.error.FFmpegError) as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    return pixels.reshape(1, *pixels.shape[:2], -1)
