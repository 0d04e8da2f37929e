"""Images to be judged: ADM's `.npz`, or a folder of pictures; read a few at a time.

Shapes: N images, n of a part, H rows, W columns.
"""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from PIL import Image

ARRAY = "arr_0"  # of ADM's file
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
            yield from _of_npz(self.path, count, rows)
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
    if not path.is_file():
        raise FileNotFoundError(f"{flag}={path}: there is no such file or folder")
    shape, dtype = _header(path, flag)
    if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:
        raise ValueError(f"{flag}={path}: {ARRAY} is {dtype} {shape}; it must be uint8 (N, H, W, 3)")
    return Images(path, shape[0], (shape[1], shape[2]))


def has_images(path: Path) -> bool:
    """Whether an `.npz` holds images, and is not one of statistics alone."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return f"{ARRAY}.npy" in archive.namelist()
    return False


@contextlib.contextmanager
def _opened(path: Path, flag: str) -> Iterator[tuple[Any, tuple[int, ...], np.dtype]]:
    """The stream of the array behind its header, its shape and its dtype."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{ARRAY}.npy") as stream:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, is_fortran, dtype = read(stream)
            if is_fortran:
                raise ValueError(f"{flag}={path}: {ARRAY} is in Fortran's order; write it in C's")
            yield stream, shape, dtype
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{flag}={path} is no .npz with {ARRAY}: {error}") from error


def _header(path: Path, flag: str) -> tuple[tuple[int, ...], np.dtype]:
    with _opened(path, flag) as (_, shape, dtype):
        return shape, dtype


def _of_npz(path: Path, count: int, rows: int) -> Iterator[np.ndarray]:
    with _opened(path, "file") as (stream, shape, dtype):
        each = int(np.prod(shape[1:])) * dtype.itemsize
        for first in range(0, count, rows):
            together = min(rows, count - first)
            content = stream.read(together * each)
            if len(content) < together * each:
                raise ValueError(f"{path} ends within its images")
            yield np.frombuffer(content, dtype).reshape(together, *shape[1:])
