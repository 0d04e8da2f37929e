"""Images to be judged: ADM's `.npz`, or a folder of pictures; read a few at a time.

Shapes: N images, n of a part, H rows, W columns.
"""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ptdit_jax.evaluate import npz

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Images(NamedTuple):
    """Where images are.

    Attributes:
      path: an `.npz`, or a folder.
      count: N.
      size: (H, W).
      files: of a folder, by name; () for an `.npz`.
    """

    path: Path
    count: int
    size: tuple[int, int]
    files: tuple[Path, ...] = ()

    def parts(self, count: int, rows: int) -> Iterator[np.ndarray]:
        """The first `count` images, (n, H, W, 3) uint8, n = `rows` but for the last part.

        Raises:
          ValueError: a picture is of another size, or cannot be read.
          OSError: a file cannot be read.
        """
        if not self.files:
            yield from npz.parts(self.path, count, rows)
            return
        for first in range(0, count, rows):
            yield np.stack([self._picture(file) for file in self.files[first : min(first + rows, count)]])

    def _picture(self, file: Path) -> np.ndarray:
        pixels = read_picture(file)
        if pixels.shape[:2] != self.size:
            raise ValueError(
                f"{file} has {pixels.shape[0]}x{pixels.shape[1]} pixels, the others {self.size[0]}x{self.size[1]}"
            )
        return pixels


def read_picture(file: Path) -> np.ndarray:
    """A picture (H, W, 3) uint8.

    Raises:
      ValueError: it is none, or is not RGB.
      OSError: it cannot be read.
    """
    try:
        with Image.open(file) as opened:
            if opened.mode != "RGB":
                raise ValueError(f"{file} is of mode {opened.mode}; it must be RGB, 8 bits a channel")
            return np.asarray(opened)
    except SyntaxError as error:  # what Pillow says of a broken PNG
        raise ValueError(f"{file} cannot be read: {error}") from error


def find(path: Path, flag: str) -> Images:
    """The images of a path.

    Args:
      path: an `.npz` whose `arr_0` is (N, H, W, 3) uint8, or a folder.
      flag: that named it, for messages.

    Raises:
      ValueError: there are none, or they are not RGB of 8 bits.
      OSError: it cannot be read.
    """
    if path.is_dir():
        files = tuple(sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES))
        files = tuple(file for file in files if file.stem not in ("summary", "sheet"))  # of `sample`
        if not files:
            raise ValueError(f"{flag}={path} holds no pictures ({', '.join(SUFFIXES)})")
        first = read_picture(files[0])
        return Images(path, len(files), (first.shape[0], first.shape[1]), files)
    shape, dtype = npz.header(path, flag)
    if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:
        raise ValueError(f"{flag}={path}: {npz.ARRAY} is {dtype} {shape}; it must be uint8 (N, H, W, 3)")
    return Images(path, shape[0], (shape[1], shape[2]))


def has_images(path: Path) -> bool:
    """Whether an `.npz` holds images, and is not one of statistics alone."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return f"{npz.ARRAY}.npy" in archive.namelist()
    return False
