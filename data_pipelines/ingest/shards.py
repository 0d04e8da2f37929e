"""Shards: which sample goes into which, and how one is written, the same bytes whoever writes it."""

import collections
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipelines.ingest import storage
from data_pipelines.ingest.filters import score
from data_pipelines.ingest.folders import read_file
from data_pipelines.ingest.measured import read_measured
from data_pipelines.ingest.options import Settings
from data_pipelines.ingest.reasons import LeftOut
from data_pipelines.ingest.report import histogram_counts
from data_pipelines.ingest.tables import TableReader

KEY_DIGITS = 4  # of a sample's place in its shard
QUARANTINE = "quarantine"
_TEXT = ("url", "caption", "key", "status", "error_message", "exif", "sha256", "pixels_sha256", "phash")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in _TEXT[:5]]
    + [(name, pa.int32()) for name in ("width", "height", "original_width", "original_height")]
    + [(name, pa.string()) for name in _TEXT[5:]]
    + [("bytes", pa.int64()), ("source", pa.string()), ("source_key", pa.string())]
)


def starts(counts: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Numbers what units hold, end to end.

    Args:
        counts: pairs of a unit and how many it holds, in any order.

    Returns:
        The number of the first of each unit, and under -1 how many there are of all.
    """
    found, total = {}, 0
    for unit, count in sorted(counts):
        found[unit] = total
        total += count
    return found | {-1: total}


def place(
    unit: int, items: Sequence[Any], first: Mapping[int, int], size: int
) -> Iterator[tuple[int, tuple]]:
    """Divides what a unit holds among shards.

    Args:
        unit: its number.
        items: what it holds, in order.
        first: of `starts`.
        size: of a shard.

    Yields:
        The number of a shard and what is for it: the unit and its items, in order.
    """
    begin, end = first[unit], first[unit] + len(items)
    for shard in range(begin // size, -(-end // size)):
        low, high = max(begin, shard * size), min(end, (shard + 1) * size)
        yield shard, (unit, list(items[low - begin : high - begin]))


def shard_name(number: int, total: int, size: int) -> str:
    """Returns the name of a shard: five digits, more where there are more shards."""
    shards = -(-total // size)
    return f"{number:0{max(5, len(str(max(shards - 1, 0))))}d}"


def write_shard(
    out: str, name: str, parts: Iterable[tuple[int, list[int]]], settings: Settings
) -> dict[str, int]:
    """Writes a tar and the Parquet beside it, unless both are there.

    Args:
        out: the folder.
        name: of the shard.
        parts: units, and which of their samples, in any order of units.
        settings: of the run.

    Returns:
        Counts for the report.

    Raises:
        OSError: the machine failed, or a source is not what it was when it was measured.
    """
    chosen = []
    for unit, indices in sorted(parts):
        rows = read_measured(out, unit)
        chosen += [rows[index] for index in indices]
    records = [_record(row, f"{name}{place:0{KEY_DIGITS}d}", settings) for place, row in enumerate(chosen)]
    tar, table = (storage.join(out, f"{name}.{suffix}") for suffix in ("tar", "parquet"))
    if not (storage.exists(tar) and storage.exists(table)):
        content = io.BytesIO()
        schema = _SCHEMA
        for column in settings.columns:
            schema = schema.append(pa.field(column, pa.float64()))
        pq.write_table(pa.Table.from_pylist([record for record, _ in records], schema), content)
        storage.write_bytes(table, out, content.getvalue())
        # The tar comes last: where it is, the shard is whole.
        storage.write_whole(tar, out, lambda file: _fill(file, chosen, records, settings))
    counts = collections.Counter(
        {"kept": len(chosen), "bytes": sum(record["bytes"] for record, _ in records)}
    )
    for row in chosen:
        counts.update(histogram_counts(row["width"], row["height"], row["caption"]))
    return dict(counts)


def write_quarantine(
    out: str, name: str, parts: Iterable[tuple[int, list[tuple[int, str, str]]]]
) -> dict[str, int]:
    """Lists samples that are left out, a line of JSON each.

    Args:
        out: the folder.
        name: of the file.
        parts: units, and the index, reason and line of those of their samples; an empty reason is the measured one.

    Returns:
        Counts for the report.
    """
    lines, counts = [], collections.Counter()
    for unit, items in sorted(parts):
        rows = read_measured(out, unit)
        for index, reason, line in items:
            row = rows[index]
            entry = {"source": row["source"], "key": row["key"]}
            entry |= {"reason": reason or row["reason"], "text": line or row["text"]}
            lines.append(json.dumps(entry, ensure_ascii=False))
            counts[f"left out: {entry['reason']}"] += 1
    storage.write_bytes(
        storage.join(out, QUARANTINE, f"{name}.jsonl"), out, ("\n".join(lines) + "\n").encode()
    )
    return dict(counts)


def _record(row: dict[str, Any], key: str, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of the Parquet, and the sample's .json."""
    metadata = json.loads(row["metadata"])
    url, exif = metadata.get("url"), metadata.get("exif")
    record = {
        "url": url if isinstance(url, str) else None,
        "caption": row["caption"],
        "key": key,
        "status": "success",
        "error_message": None,
        "width": row["width"],
        "height": row["height"],
        "original_width": row["stored_width"],
        "original_height": row["stored_height"],
        "exif": exif if isinstance(exif, str) or exif is None else json.dumps(exif),
        "sha256": row["sha256"],
        "pixels_sha256": row["pixels"] or None,
        "phash": None if row["phash"] is None else f"{row['phash']:016x}",
        "bytes": row["bytes"],
        "source": row["source"],
        "source_key": row["key"],
    }
    record |= {column: score(metadata, column) for column in settings.columns}
    return record, metadata


def _fill(file: Any, rows: Sequence[dict], records: Sequence[tuple[dict, dict]], settings: Settings) -> None:
    """Writes the members of a tar."""
    reader = _Reader(settings)
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row, (record, metadata) in zip(rows, records):
            content = reader.read(row)
            if hashlib.sha256(content).hexdigest() != row["sha256"]:
                raise OSError(
                    f"{row['source']}: {row['key']} is not what it was; name another --out for what it is now"
                )
            parts = {row["suffix"]: content}
            if row["caption"]:
                parts["txt"] = row["caption"].encode()
            parts["json"] = json.dumps(metadata | record).encode()
            for suffix, part in parts.items():
                member = tarfile.TarInfo(f"{record['key']}.{suffix}")  # no time, no owner
                member.size = len(part)
                tar.addfile(member, io.BytesIO(part))
    reader.close()


class _Reader:
    """Media by the rows of `measured`; the source of the last one stays open."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._uri, self._open = settings, "", None

    def read(self, row: dict[str, Any]) -> bytes:
        """Returns the bytes.

        Raises:
            OSError: they cannot be read any more.
        """
        uri, kind = row["source"], row["source"].rpartition(".")[2].lower()
        try:
            if kind not in ("tar", "parquet"):
                return read_file(uri)
            if uri != self._uri:
                self.close()
                self._uri = uri
                self._open = TableReader(uri, self._settings) if kind == "parquet" else storage.open_file(uri)
            if isinstance(self._open, TableReader):
                return self._open.read(row["offset"], row["size"])
            assert self._open is not None
            return storage.read_range(self._open, row["offset"], row["size"])
        except (LeftOut, ValueError) as error:
            raise OSError(f"{uri}: {row['key']} cannot be read any more: {error}") from error

    def close(self) -> None:
        """Closes what is open."""
        if self._open is not None:
            self._open.close()
        self._uri, self._open = "", None
