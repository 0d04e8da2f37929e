"""Arrays in `.npy` and `.npz` files, whatever state the files are in.

A file is looked at before any memory is asked for: it is a regular file, its headers are numpy's, and the array that a
header describes has exactly the bytes that are there. What is wrong is one ValueError with the file and the member, or
an OSError where the machine and not the file is at fault.
"""

import contextlib
import dataclasses
import io
import math
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Literal

import numpy as np

METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
LONGEST = 10_000  # bytes of a header, which is text that has to be parsed; numpy's own limit
DICTIONARY = 2**26  # bytes that LZMA may ask for, as its highest preset does; a damaged header says anything
LINE = 400  # characters of a library's message; some quote a whole header
_OF_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
_ENCRYPTED = 0x1  # of a zip member's flags
_LOCAL = 30  # bytes of the header before a zip member, without the two names whose lengths are its end
_FORMATS = {  # version of a `.npy`: how the length of its header is stored, and who parses that
    (1, 0): ("<H", np.lib.format.read_array_header_1_0),
    (2, 0): ("<I", np.lib.format.read_array_header_2_0),
}


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array in a file, known by its header.

    Attributes:
        path: of the file.
        member: its name in an `.npz`; "" for an `.npy`.
        shape: as the header says.
        dtype: of the elements, never of Python objects.
        fortran: whether it is stored column by column.
        header: bytes of its own header, which end where the elements begin.
        offset: bytes of the file before the elements; None where they are compressed.
        checksum: CRC-32 of header and elements in an `.npz`; None where it is not known, or compared by zipfile.
    """

    path: Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    header: int
    offset: int | None = None
    checksum: int | None = None

    def open(self) -> np.ndarray:
        """Returns the array, mapped from the file, which stays open as long as it is used; if compressed, `read`.

        What is mapped is not compared with its checksum: that would read all of it.

        Raises:
            ValueError: the file has changed, or compressed data are damaged.
        """
        if self.offset is None:
            return self.read()
        with named(self.path, self._place):
            if 0 in self.shape:  # nothing to map
                return np.empty(self.shape, self.dtype)
            return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, self._order)

    def read(self) -> np.ndarray:
        """Returns the array in memory, perhaps read-only.

        Raises:
            ValueError: the file has changed, or its data are damaged.
        """
        with named(self.path, self._place):
            if self.offset is None:
                with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.member}.npy") as file:
                    whole = file.read()  # to its end, where the checksum is compared
                content = np.frombuffer(whole, np.uint8)
            else:
                size = self.header + math.prod(self.shape) * self.dtype.itemsize
                content = np.fromfile(self.path, np.uint8, size, offset=self.offset - self.header)
                if self.checksum is not None and zlib.crc32(content.data) != self.checksum:
                    raise ValueError("is damaged: its checksum is another")
            return content[self.header :].view(self.dtype).reshape(self.shape, order=self._order)

    @property
    def _order(self) -> Literal["F", "C"]:
        return "F" if self.fortran else "C"

    @property
    def _place(self) -> str:
        return repr(self.member) if self.member else ""


def open_npy(path: Path) -> StoredArray:
    """Looks at an `.npy` file.

    Raises:
        ValueError: it is none, or is damaged.
    """
    with named(path), _regular(path) as file:
        array = _stored(path, "", file, os.fstat(file.fileno()).st_size)
        return dataclasses.replace(array, offset=array.header)


def open_npz(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, StoredArray]:
    """Looks at the arrays of an `.npz` file that are asked for, by their names.

    Raises:
        ValueError: it is none, lacks a required array, or is damaged.
    """
    with named(path), _regular(path) as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("cannot be read as .npz: is no zip file")
        with zipfile.ZipFile(file) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            if missing := [name for name in required if name not in names]:
                raise ValueError(f"lacks {', '.join(missing)}; it has {', '.join(names) or 'nothing'}")
            found = {}
            for name in (*required, *(name for name in optional if name in names)):
                with named(repr(name)):
                    found[name] = _member(path, file, archive, name)
            return found


def read_npz(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Returns the arrays of an `.npz` file that are asked for, in memory; see `open_npz`."""
    return {name: array.read() for name, array in open_npz(path, required, optional).items()}


@contextlib.contextmanager
def named(*places: Path | str) -> Iterator[None]:
    """Whatever is raised becomes a line that begins with its place: damaged files make libraries raise nearly anything.

    Raises:
        ValueError: something was raised.
        OSError: that was of the machine (its disk, its memory, its limits), which trying again may mend.
    """
    try:
        yield
    except Exception as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        text = " ".join(said.split())[:LINE] or type(error).__name__
        of_machine = isinstance(error, OSError | MemoryError) and not isinstance(error, _OF_FILE)
        kind = OSError if of_machine else ValueError
        raise kind(": ".join([*(str(place) for place in places if place), text])) from error


@contextlib.contextmanager
def _regular(path: Path) -> Iterator[IO[bytes]]:
    """A file that is open; what is none would be waited for, or has no end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("is no regular file; it must be an .npy or .npz file")
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError("is empty")
        yield file


def _member(path: Path, file: IO[bytes], archive: zipfile.ZipFile, name: str) -> StoredArray:
    """Looks at one array of an `.npz`; an uncompressed one is a whole `.npy` file inside the zip."""
    info = archive.getinfo(f"{name}.npy")
    if info.flag_bits & _ENCRYPTED:
        raise ValueError("is encrypted; it must not be")
    if info.compress_type not in METHODS:
        raise ValueError(f"is compressed by method {info.compress_type}, which is unknown here")
    file.seek(info.header_offset + _LOCAL - 4)
    begin = info.header_offset + _LOCAL + sum(struct.unpack("<HH", file.read(4)))
    if begin + info.compress_size > os.fstat(file.fileno()).st_size:
        raise ValueError("ends behind the end of the file")
    if info.compress_type == zipfile.ZIP_LZMA:
        file.seek(begin)
        (dictionary,) = struct.unpack("<5xI", file.read(9))
        if dictionary > DICTIONARY:
            raise ValueError(f"needs {dictionary} bytes to be decompressed, more than {DICTIONARY}")
    with archive.open(info) as content:  # compares the two headers of the member
        array = _stored(path, name, content, info.file_size)
    if info.compress_type != zipfile.ZIP_STORED:
        return array
    if info.compress_size != info.file_size:
        raise ValueError(f"has {info.compress_size} bytes in the file, and {info.file_size} by its header")
    return dataclasses.replace(array, offset=begin + array.header, checksum=info.CRC)


def _stored(path: Path, member: str, file: IO[bytes], size: int) -> StoredArray:
    """What the header at the begin of an `.npy` of `size` bytes describes, compared with that size."""
    try:
        shape, fortran, dtype, header = _header(file)
    except zipfile.BadZipFile:  # of the member, not of its header
        raise
    except Exception as error:  # of numpy, and of the parser of Python's own syntax that it uses
        raise ValueError(
            f"has no .npy header that can be read: {str(error) or type(error).__name__}"
        ) from error
    if dtype.hasobject:
        raise ValueError("holds Python objects, not numbers")
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"has the shape {shape}; lengths must be whole numbers, 0 or more")
    needed, there = math.prod(shape) * dtype.itemsize, size - header
    if needed != there:
        raise ValueError(f"has the shape {shape} of {dtype}, which is {needed} bytes, and {there} are there")
    return StoredArray(path, member, shape, dtype, fortran, header)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """(shape, whether stored column by column, dtype, bytes) of the `.npy` header that a file begins with."""
    start = file.read(12)
    version = np.lib.format.read_magic(io.BytesIO(start))
    if version not in _FORMATS:
        raise ValueError(f"it is in format {version}, known are {', '.join(map(str, _FORMATS))}")
    kind, parse = _FORMATS[version]
    begin = 8 + struct.calcsize(kind)
    (length,) = struct.unpack(kind, start[8:begin])
    if length > LONGEST:  # asked before reading: memory is asked for by what it says
        raise ValueError(f"it has {length} bytes, more than {LONGEST}")
    content = start + file.read(max(begin + length - len(start), 0))
    if b"\\" in content[begin:]:  # Python would warn of some, in lines of its own
        raise ValueError("it has a backslash")
    shape, fortran, dtype = parse(io.BytesIO(content[8:]))
    return shape, fortran, dtype, begin + length
