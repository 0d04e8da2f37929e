"""The array of an `.npz` as ADM's evaluator has it, mapped from its file where it is not compressed."""

import contextlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from ptdit_jax import files

ARRAY = "arr_0"
LOCAL_HEADER = 30  # bytes before the name of a file within a zip archive


def has_array(path: Path, name: str = ARRAY) -> bool:
    """Whether a file is an `.npz` with an array: by default with samples, and not one of statistics alone."""
    with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return f"{name}.npy" in archive.namelist()
    return False


def write(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name, whole or not at all.

    Raises:
      OSError: the file cannot be written.
    """

    def make(draft: Path) -> None:
        with draft.open("wb") as file:  # np.savez would add a suffix
            np.savez(file, **arrays)

    files.write(path, make)


def mapped(path: Path, flag: str) -> np.ndarray:
    """`arr_0`: any part of it is read when it is asked for; a compressed file is read whole.

    Args:
      path: of the file.
      flag: that named it, for messages.

    Raises:
      ValueError: it is no `.npz` with that array in C's order, or ends within it.
      OSError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{flag}={path}: there is no such file or folder")
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{ARRAY}.npy")
            with archive.open(entry) as stream:
                if entry.compress_type != zipfile.ZIP_STORED:
                    return npy.read_array(stream, allow_pickle=False)
                version = npy.read_magic(stream)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, is_fortran, dtype = read(stream)
                within = stream.tell()
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{flag}={path} is no .npz with {ARRAY}: {error}") from error
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(LOCAL_HEADER)
    first = entry.header_offset + LOCAL_HEADER + within
    first += sum(
        int.from_bytes(header[at : at + 2], "little") for at in (26, 28)
    )  # its name, its extra field
    if dtype.hasobject or is_fortran or first + int(np.prod(shape)) * dtype.itemsize > path.stat().st_size:
        raise ValueError(f"{flag}={path}: {ARRAY} must be plain numbers in C's order, and all there")
    return np.memmap(path, dtype, mode="r", offset=first, shape=shape)
