"""The array of an `.npz` as ADM's evaluator has it, read a few samples at a time and never whole."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

ARRAY = "arr_0"  # of ADM's file


def header(path: Path, flag: str) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of the array.

    Args:
      path: of the file.
      flag: that named it, for messages.

    Raises:
      ValueError: it is no `.npz` with that array in C's order.
      OSError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{flag}={path}: there is no such file or folder")
    with _opened(path, flag) as (_, shape, dtype):
        return shape, dtype


def parts(path: Path, count: int, rows: int) -> Iterator[np.ndarray]:
    """The first `count` samples, (n, ...), n = `rows` but for the last part.

    Raises:
      ValueError: the file ends within its samples.
      OSError: it cannot be read.
    """
    with _opened(path, "file") as (stream, shape, dtype):
        each = int(np.prod(shape[1:])) * dtype.itemsize
        for first in range(0, count, rows):
            together = min(rows, count - first)
            content = stream.read(together * each)
            if len(content) < together * each:
                raise ValueError(f"{path} ends within its samples")
            yield np.frombuffer(content, dtype).reshape(together, *shape[1:])


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
