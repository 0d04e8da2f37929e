"""Samples of a webdataset tar, with where their media lie in it, and rows of the Parquet beside it."""

import re
import tarfile
from collections.abc import Iterator
from typing import IO, Any

import pyarrow.parquet as pq

from data_pipelines.ingest import storage
from data_pipelines.ingest.filters import TEXT_BYTES
from data_pipelines.ingest.found import (
    Found,
    caption_of,
    leaves_its_folder,
    parse_caption,
    parse_metadata,
    plain,
    text,
)
from data_pipelines.ingest.options import Settings
from data_pipelines.ingest.pictures import SUFFIXES
from data_pipelines.ingest.reasons import LeftOut

_NAME = re.compile(
    r"((?:.*/)?[^./][^./]*)\.([^/]*)", re.DOTALL
)  # webdataset's: the key ends at the first dot
_WORTH_KNOWING = ("txt", "json", *SUFFIXES)


def read_tar(uri: str, sidecar: str | None, settings: Settings) -> Iterator[Found]:
    """Goes through a tar from its begin; members of one key that follow each other are a sample.

    Args:
        uri: of the tar, uncompressed.
        sidecar: of the Parquet whose rows have the samples' `key`, or None.
        settings: the limits.

    Yields:
        Every sample, and every member that is none, with its problem.
    """
    rows: dict[str, dict[str, Any]] = {}
    if sidecar is not None:
        try:
            rows = _rows(sidecar)
        except Exception as error:  # damaged Parquet makes pyarrow raise nearly anything
            _pass_on(error)
            yield Found(sidecar, "", problem=LeftOut("source_damaged", error))
    with storage.open_file(uri) as file:
        key, members = "", {}
        problem: LeftOut | None = None
        for member in _members(file):
            if isinstance(member, LeftOut):
                problem = member
                break
            name = member.name
            if member.isdir():
                continue
            if leaves_its_folder(name):
                yield Found(uri, text(name), problem=LeftOut("bad_path", "the name leaves the tar"))
                continue
            if not member.isreg() or member.issparse():
                yield Found(uri, text(name), problem=LeftOut("no_file", "a link, a device or a sparse file"))
                continue
            match = _NAME.fullmatch(name)
            if match is None:
                yield Found(uri, text(name), problem=LeftOut("no_media", "the name has no key and suffix"))
                continue
            if match[1] != key:
                if members:
                    yield _sample(file, uri, key, members, rows, settings)
                key, members = match[1], {}
            if (suffix := match[2].lower()) in _WORTH_KNOWING:
                members[suffix] = member.offset_data, member.size
            else:
                members.setdefault("", (0, 0))  # the key is there
        if members:
            yield _sample(file, uri, key, members, rows, settings)
        if problem is not None:
            yield Found(uri, "", problem=problem)


def _members(file: IO[bytes]) -> Iterator[tarfile.TarInfo | LeftOut]:
    """The members, and last a problem where the rest cannot be read."""
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  (it would grow)
                yield member
    except (tarfile.TarError, ValueError, OverflowError, MemoryError, EOFError, OSError) as error:
        if not isinstance(error, tarfile.TarError):
            _pass_on(error)
        yield LeftOut("source_damaged", error)


def _pass_on(error: Exception) -> None:
    """Raises what is of the machine, which trying again may mend."""
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
        raise error


def _sample(file: IO[bytes], uri: str, key: str, members: dict, rows: dict, settings: Settings) -> Found:
    """One sample of the members of one key, {suffix: (offset, size)}."""
    media = [suffix for suffix in members if suffix in SUFFIXES]
    metadata, name = rows.get(key, {}), text(key)
    if len(media) != 1:
        problem = (
            LeftOut("several_media", ", ".join(media)) if media else LeftOut("no_media", "no picture or film")
        )
        return Found(uri, name, metadata=metadata, problem=problem)
    offset, size = members[media[0]]

    def part(suffix: str) -> bytes:
        place, length = members[suffix]
        content = storage.read_range(file, place, length)
        if len(content) < length:
            raise LeftOut("damaged", f"the tar ends before the end of its .{suffix}")
        return content

    def read() -> bytes:
        if size > settings.max_bytes:
            raise LeftOut("too_large", f"{size:,} bytes are more than {settings.max_bytes:,}")
        return part(media[0])

    caption, problem = None, None
    try:
        if "json" in members:
            _limit(members["json"][1], "bad_metadata")
            metadata = {**metadata, **parse_metadata(part("json"))}
        caption = caption_of(metadata, settings.caption_column)
        if "txt" in members and not settings.caption_column:
            _limit(members["txt"][1], "caption_too_long")
            caption = parse_caption(part("txt"))
    except LeftOut as reason:
        problem = reason
    return Found(uri, name, media[0], offset, size, caption, metadata, read, problem)


def _limit(size: int, reason: str) -> None:
    if size > TEXT_BYTES:
        raise LeftOut(reason, f"{size:,} bytes are more than {TEXT_BYTES:,}")


def _rows(uri: str) -> dict[str, dict[str, Any]]:
    """Rows of a sidecar by their key."""
    with storage.open_file(uri) as file:
        rows = pq.read_table(file).to_pylist()
    return {str(row["key"]): plain(row) for row in rows if row.get("key") is not None}
