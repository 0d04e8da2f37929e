"""Files by path or URL: those of this machine by Python itself, all others by Apache Beam's `FileSystems`."""

import contextlib
import dataclasses
import io
import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
DRAFTS = "unfinished"  # the folder of files that are being written


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file.

    Attributes:
        uri: its path or URL.
        size: bytes.
        time: when it was last changed, in seconds.
    """

    uri: str
    size: int
    time: float


def is_url(uri: str) -> bool:
    """Whether a text is a URL and no path of this machine."""
    return bool(URL.match(uri))


def join(*parts: str) -> str:
    """Joins a folder and names in it."""
    return "/".join([parts[0].rstrip("/"), *parts[1:]])


def open_file(uri: str) -> IO[bytes]:
    """Opens a file for reading at any place.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    if not is_url(uri):
        return Path(uri).open("rb")
    return _beam().open(uri, compression_type=_uncompressed())


def read_range(file: IO[bytes], offset: int, size: int) -> bytes:
    """Returns so many bytes of an open file, or fewer where it ends."""
    file.seek(offset)
    return file.read(size)


def exists(uri: str) -> bool:
    """Whether there is such a file or folder."""
    return bool(_beam().exists(uri)) if is_url(uri) else os.path.lexists(uri)


def entries(uri: str) -> list[Entry]:
    """Returns the files of a folder and of the folders in it, or the file itself, in the order of their names.

    What is neither file nor folder has size -1.  Links to folders are not followed.
    """
    if is_url(uri):
        patterns = [uri.rstrip("/") + "/**", uri]
        found = {file.path: file for match in _beam().match(patterns) for file in match.metadata_list}
        if len(found) > 1:
            found.pop(uri.rstrip("/"), None)  # the folder itself, where there are such
        return [
            Entry(path, file.size_in_bytes, float(file.last_updated_in_seconds or 0))
            for path, file in sorted(found.items())
            if not path.endswith("/")
        ]
    if not os.path.isdir(uri):
        return [_entry(uri)] if os.path.lexists(uri) else []
    paths = [os.path.join(place, name) for place, _, names in os.walk(uri) for name in names]
    return [_entry(path) for path in sorted(paths)]


def write_whole(uri: str, folder: str, write: Callable[[Any], None]) -> None:
    """Makes a file under another name and moves it into place, so that it is whole or absent, however often it is made.

    Args:
        uri: where it is to be; a file there is replaced.
        folder: holds the folder `DRAFTS`, on the same file system.
        write: fills the open file.
    """
    draft = join(folder, DRAFTS, uuid.uuid4().hex)
    if not is_url(uri):
        for place in (draft, uri):
            Path(place).parent.mkdir(parents=True, exist_ok=True)
        with Path(draft).open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(uri)
        return
    with contextlib.closing(_beam().create(draft, compression_type=_uncompressed())) as file:
        write(file)
    with contextlib.suppress(OSError):  # it is there, or needs not be, as in a bucket
        _beam().mkdirs(uri.rpartition("/")[0])
    if exists(uri):  # of a worker that did the same; some file systems do not replace
        _beam().delete([uri])
    _beam().rename([draft], [uri])


def write_bytes(uri: str, folder: str, content: bytes) -> None:
    """`write_whole` of bytes."""
    write_whole(uri, folder, lambda file: file.write(content))


def read_bytes(uri: str) -> bytes:
    """Returns all of a file."""
    with contextlib.closing(open_file(uri)) as file:
        return io.BufferedReader(file).read() if isinstance(file, io.RawIOBase) else file.read()


def delete(uri: str) -> None:
    """Removes a file or a folder with all that is in it; nothing where there is none."""
    if is_url(uri):
        if found := [entry.uri for entry in entries(uri) if entry.uri != uri]:
            _beam().delete(found)
    elif os.path.isdir(uri) and not os.path.islink(uri):
        shutil.rmtree(uri)
    else:
        Path(uri).unlink(missing_ok=True)


def _entry(path: str) -> Entry:
    try:
        found = os.stat(path)
    except OSError:  # a link to nothing
        return Entry(path, -1, 0.0)
    regular = (found.st_mode & 0o170000) == 0o100000
    return Entry(path, found.st_size if regular else -1, found.st_mtime)


def _beam() -> Any:
    from apache_beam.io.filesystems import FileSystems  # pyright: ignore[reportMissingImports]

    return FileSystems


def _uncompressed() -> Any:
    from apache_beam.io.filesystem import CompressionTypes  # pyright: ignore[reportMissingImports]

    return CompressionTypes.UNCOMPRESSED  # a name that ends in .gz says nothing here
