"""Bytes of pictures and films where they lie: in a file, in a part of one, or in memory."""

import dataclasses
import errno
import io
import os
import stat
from pathlib import Path
from typing import IO

import numpy as np

from data_pipelines.raw.problems import Unusable

AT_ONCE = 2**30  # bytes that are read at once at most: of a picture, or of a film in an archive
_REASONS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.ENAMETOOLONG: "missing",
    errno.EACCES: "unreadable",
    errno.EPERM: "unreadable",
    errno.ELOOP: "no_file",
    errno.EISDIR: "no_file",
    errno.ENXIO: "no_file",  # a socket
}


@dataclasses.dataclass(frozen=True)
class Stored:
    """A regular file, or a part of one.

    Attributes:
        path: of the file.
        offset: where the part begins, in bytes.
        size: bytes of the part; None for all from `offset` on.
    """

    path: Path
    offset: int = 0
    size: int | None = None

    def open(self) -> IO[bytes]:
        """Opens it at its begin; a part is read into memory.

        Raises:
            Unusable: there is no such file, it is none, or it may not be read.
            OSError: the machine failed, which trying again may mend.
        """
        try:
            # A pipe would be waited for, and some devices act when they are opened: look first.
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise Unusable("no_file", f"{self.path} is no regular file")
            file = self.path.open("rb")
        except OSError as error:
            if reason := _REASONS.get(error.errno or 0):
                raise Unusable(reason, f"{self.path}: {error.strerror}") from error
            raise OSError(error.errno, f"{self.path}: {error.strerror}") from error
        if self.size is None and not self.offset:
            return file
        with file:
            size = os.fstat(file.fileno()).st_size
            wanted = size - self.offset if self.size is None else self.size
            if wanted > AT_ONCE:
                raise Unusable("too_large", f"has {wanted:,} bytes, more than {AT_ONCE:,}")
            content = os.pread(file.fileno(), wanted, self.offset) if wanted > 0 else b""
            if len(content) < wanted:
                raise Unusable("damaged", f"{self.path} ends before the {wanted:,} bytes at {self.offset:,}")
            return io.BytesIO(content)

    def read(self) -> bytes:
        """Returns its bytes; see `open` for what is raised."""
        with self.open() as file:
            content = file.read(AT_ONCE + 1)
        if len(content) > AT_ONCE:
            raise Unusable("too_large", f"{self.path} has more than {AT_ONCE:,} bytes")
        return content


@dataclasses.dataclass(frozen=True)
class Held:
    """Bytes in memory."""

    content: bytes

    def open(self) -> IO[bytes]:
        """Returns them as a file."""
        return io.BytesIO(self.content)

    def read(self) -> bytes:
        """Returns them."""
        return self.content


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Frames (F, H, W, 3) uint8 that need no decoder."""

    frames: np.ndarray


Media = Stored | Held | Pixels
