"""Samples of a folder of pictures or films, with captions beside them or in a table."""

import csv
import errno
import io
import json
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from data_pipelines.ingest import storage
from data_pipelines.ingest.found import Found, caption_of, leaves_its_folder, parse_caption, plain, text
from data_pipelines.ingest.options import Settings
from data_pipelines.ingest.pictures import SUFFIXES
from data_pipelines.ingest.reasons import LeftOut
from data_pipelines.ingest.storage import Entry

TABLES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # as the `datasets` library names them
PATHS = ("file_name", "path", "filename", "file")  # names of the column with a path, the first that is there


def suffix_of(uri: str) -> str:
    """Returns what a name ends in, in small letters, without the dot."""
    return PurePosixPath(uri).suffix[1:].lower()


def list_folder(source: str, found: Sequence[Entry]) -> list[dict[str, Any]]:
    """Joins files with what tables say of them.

    Args:
        source: the folder.
        found: its files.

    Returns:
        A dict a sample, fit for JSON, in the order of names: `uri`, `key`, `size`, `time`; and where there is one,
        `text`, the URI of its caption, `row`, its row in a table, `problem`, a pair of reason and line.

    Raises:
        ValueError: a table cannot be read; names it.
    """
    texts = {entry.uri for entry in found if suffix_of(entry.uri) == "txt"}
    samples = {}
    for entry in found:
        if suffix_of(entry.uri) in SUFFIXES:
            sample = samples[entry.uri] = {"uri": entry.uri, "size": entry.size, "time": entry.time}
            sample["key"] = text(entry.uri.removeprefix(source).lstrip("/") or entry.uri)
            beside = str(entry.uri).removesuffix(PurePosixPath(entry.uri).suffix) + ".txt"
            if beside in texts:
                sample["text"] = beside
    for entry in found:
        if posixpath.basename(entry.uri) in TABLES:
            folder = posixpath.dirname(entry.uri)
            for name, row in _table(entry.uri):
                _join(samples, folder, entry.uri, name, row)
    return [samples[uri] for uri in sorted(samples)]


def _join(samples: dict[str, dict], folder: str, table: str, name: str, row: dict[str, Any]) -> None:
    """Adds a row of a table to its sample."""
    if leaves_its_folder(name):
        problem = ["bad_path", f"{posixpath.basename(table)} names what is outside of its folder"]
        samples[f"{table} {name}"] = {"uri": table, "key": name, "problem": problem}
        return
    uri = storage.join(folder, posixpath.normpath(name)) if folder else posixpath.normpath(name)
    if uri not in samples:
        problem = ["missing", f"{posixpath.basename(table)} names it"]
        samples[f"{table} {name}"] = {"uri": table, "key": name, "problem": problem}
        return
    samples[uri].setdefault("row", {}).update(row)


def _table(uri: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The path and the rest of each row.

    Raises:
        ValueError: it cannot be read; names it and the line.
    """
    content = storage.read_bytes(uri)
    try:
        if uri.endswith(".parquet"):
            rows: Any = pq.read_table(io.BytesIO(content)).to_pylist()
        elif uri.endswith(".csv"):
            rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        else:
            rows = (json.loads(line) for line in content.decode("utf-8-sig").split("\n") if line.strip())
        for number, row in enumerate(rows, 1):
            name = next((row[column] for column in PATHS if isinstance(row.get(column), str)), None)
            if name is None:
                raise ValueError(f"row {number} has no path in one of {', '.join(PATHS)}")
            yield text(name), plain({key: value for key, value in row.items() if key is not None})
    except Exception as error:  # three libraries' own
        line = " ".join(str(error).split())[:300]
        raise ValueError(f"{uri} cannot be read: {line}") from error


def read_files(samples: Sequence[dict[str, Any]], settings: Settings) -> Iterator[Found]:
    """Goes through a part of a folder.

    Args:
        samples: of `list_folder`.
        settings: the limits.
    """
    for sample in samples:
        uri, key, row = sample["uri"], sample["key"], sample.get("row", {})
        caption, problem = caption_of(row, settings.caption_column), None
        try:
            if "problem" in sample:
                raise LeftOut(*sample["problem"])
            if sample["size"] < 0:
                raise LeftOut("no_file", "no regular file, or a link to nothing")
            if "text" in sample and not settings.caption_column:
                caption = parse_caption(read_file(sample["text"]))
        except LeftOut as reason:
            problem = reason
        size = sample.get("size", 0)
        yield Found(uri, key, suffix_of(uri), 0, size, caption, row, _reader(uri, size, settings), problem)


def _reader(uri: str, size: int, settings: Settings) -> Any:
    def read() -> bytes:
        if size > settings.max_bytes:
            raise LeftOut("too_large", f"{size:,} bytes are more than {settings.max_bytes:,}")
        return read_file(uri)

    return read


def read_file(uri: str) -> bytes:
    """Returns all of a file.

    Raises:
        LeftOut: it went, or may not be read.
        OSError: the machine failed.
    """
    try:
        return storage.read_bytes(uri)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise LeftOut("unreadable", error) from error
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.EISDIR):
            raise LeftOut("missing", error) from error
        raise
