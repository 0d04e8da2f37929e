"""Arrays in `.npy` and `.npz` files, whatever state the files are in.

A file is looked at before any memory is asked for: it is a regular file, its headers are numpy's, and the array that a
header describes has exactly the bytes that are there. What is wrong is one ValueError with the file and the member.
"""

import contextlib
import dataclasses
import math
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_ENCRYPTED = 0x1  # of a member's flags


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array in a file, known by its header.

    Attributes:
      path: of the file.
      member: its name in an `.npz`; "" for an `.npy`.
      shape: as the header says.
      dtype: of the elements, never of Python objects.
      fortran: whether it is stored column by column.
      offset: bytes of the file before its elements; None where they are compressed.
    """

    path: Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int | None

    def open(self) -> np.ndarray:
        """The array: mapped from the file, which stays open as long as it is used, or read whole if compressed.

        Raises:
          ValueError: the file has changed, or compressed data are damaged.
        """
        order = "F" if self.fortran else "C"
        with named(self.path, self.member):
            if self.offset is not None:
                if 0 in self.shape:  # nothing to map
                    return np.empty(self.shape, self.dtype)
                return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, order)
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.member}.npy") as file:
                _header(file)
                elements = np.frombuffer(
                    file.read(), self.dtype
                )  # to the end, where the checksum is compared
            return elements.reshape(self.shape, order=order)

    def read(self) -> np.ndarray:
        """The array in memory; see `open`."""
        if self.offset is None:
            return self.open()
        with named(self.path, self.member):
            elements = np.fromfile(self.path, self.dtype, math.prod(self.shape), offset=self.offset)
            return elements.reshape(self.shape, order="F" if self.fortran else "C")


def look(path: Path, names: Sequence[str] | None = None) -> dict[str, StoredArray]:
    """The arrays of a file by their names, "" for that of an `.npy`.

    Args:
      path: the file; what it is decides its content, not its name.
      names: of the members to look at; None for all.

    Raises:
      ValueError: it is no such file, or is damaged.
    """
    with named(path):
        kind = stat.S_IFMT(path.stat().st_mode)
        if kind != stat.S_IFREG:
            raise ValueError("is no regular file; it must be an .npy or .npz file")
        if path.stat().st_size == 0:
            raise ValueError("is empty")
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                file.seek(0)
                return {"": _stored(path, "", file, path.stat().st_size, mapped=True)}
        if not zipfile.is_zipfile(path):
            raise ValueError("cannot be read as .npz or .npy")
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            found = {}
            for info in members:
                name = info.filename.removesuffix(".npy")
                if names is None or name in names:
                    with named(path, name, outer=True):
                        found[name] = _member(path, archive, info, name)
            return found


def read_all(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` in memory.

    Raises:
      ValueError: see `look`.
    """
    return {name: array.read() for name, array in look(path).items()}


@contextlib.contextmanager
def named(path: Path, member: str = "", *, outer: bool = False) -> Iterator[None]:
    """Whatever reading raises, with the file and the member: damaged files make libraries raise nearly anything.

    Args:
      path: the file.
      member: of it.
      outer: a surrounding call names the file.

    Raises:
      ValueError: something was raised.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, _NamedError) and not outer:
            raise
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        text = " ".join(said.split()) or type(error).__name__
        place = [] if outer else [str(path)]
        place += [repr(member)] if member else []
        made = ValueError if outer else _NamedError
        raise made(": ".join([*place, text])) from error


class _NamedError(ValueError):
    """A message that names its file."""


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> StoredArray:
    if info.flag_bits & _ENCRYPTED:
        raise ValueError("is encrypted; it must not be")
    if info.compress_type not in METHODS:
        raise ValueError(f"is compressed by method {info.compress_type}, which is unknown here")
    with archive.open(info) as file:  # compares the two headers of the member
        stored = info.compress_type == zipfile.ZIP_STORED
        array = _stored(path, name, file, info.file_size, mapped=False)
        if not stored:
            return array
        if info.compress_size != info.file_size:
            raise ValueError(
                f"has {info.compress_size} bytes in the file, and {info.file_size} by its header"
            )
    needed = math.prod(array.shape) * array.dtype.itemsize
    with path.open("rb") as raw:
        raw.seek(info.header_offset + 26)
        lengths = np.frombuffer(raw.read(4), "<u2")
        offset = info.header_offset + 30 + int(lengths.sum()) + info.file_size - needed
    if offset + needed > path.stat().st_size:
        raise ValueError("ends behind the end of the file")
    return dataclasses.replace(array, offset=offset)


def _stored(path: Path, member: str, file: IO[bytes], size: int, *, mapped: bool) -> StoredArray:
    """What the header at the begin of a file or member of `size` bytes describes, compared with that size."""
    shape, fortran, dtype = _header(file)
    if dtype.hasobject:
        raise ValueError("holds Python objects, not numbers")
    begin = file.tell()
    needed, there = math.prod(shape) * dtype.itemsize, size - begin
    if needed != there:
        raise ValueError(f"has the shape {shape} of {dtype}, which is {needed} bytes, and {there} are there")
    return StoredArray(path, member, shape, dtype, fortran, begin if mapped else None)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether stored column by column, dtype) of the `.npy` header that a file stands at."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"is in .npy format {version}, known are {', '.join(map(str, readers))}")
    try:
        shape, fortran, dtype = readers[version](file)
    except Exception as error:  # of the parser of Python's own syntax that numpy uses
        raise ValueError(f"has a header that cannot be read: {error}") from error
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"has the shape {shape}; lengths must be whole numbers, 0 or more")
    return shape, fortran, dtype
