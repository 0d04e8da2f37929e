"""Samples of a Parquet file whose rows hold the bytes of a picture or film."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipelines.ingest import storage
from data_pipelines.ingest.found import Found, caption_of, plain, text
from data_pipelines.ingest.options import Settings
from data_pipelines.ingest.pictures import SUFFIXES
from data_pipelines.ingest.reasons import LeftOut

BATCH = 32  # rows in memory at a time


def media_column(schema: pa.Schema, wanted: str = "") -> str:
    """Finds the column that holds media: a struct with `bytes`, as Hugging Face writes, or else plain bytes.

    Args:
        schema: of the table.
        wanted: its name, where it is known.

    Raises:
        ValueError: there is none, or the one that is wanted holds no bytes.
    """
    structs = [field.name for field in schema if _is_struct(field.type)]
    binaries = [field.name for field in schema if _is_binary(field.type)]
    if wanted:
        if wanted not in structs + binaries:
            raise ValueError(
                f"has no column {wanted} of bytes; it has {', '.join(structs + binaries) or 'none'}"
            )
        return wanted
    if not structs + binaries:
        raise ValueError(f"has no column of bytes; it has {', '.join(schema.names)}")
    return (structs + binaries)[0]


def read_table(uri: str, settings: Settings) -> Iterator[Found]:
    """Goes through the rows of a Parquet file.

    Yields:
        A sample a row; where the rest cannot be read, one with that problem.
    """
    number = 0
    with storage.open_file(uri) as file:
        try:
            parquet = pq.ParquetFile(file)
            column = media_column(parquet.schema_arrow, settings.image_column)
            others = [field.name for field in parquet.schema_arrow if field.name != column]
            others = [name for name in others if not _holds_bytes(parquet.schema_arrow.field(name).type)]
            for group in range(parquet.num_row_groups):
                for row, values in enumerate(_rows(parquet, group, [column, *others])):
                    yield _sample(uri, number, group, row, values.pop(column), plain(values), settings)
                    number += 1
        except (pa.ArrowException, ValueError, OSError) as error:  # pyarrow's own errors are of all three
            if isinstance(error, OSError) and error.errno is not None:
                raise
            yield Found(uri, "", problem=LeftOut("source_damaged", error))


class TableReader:
    """Media of rows of one Parquet file, cheaply where they are asked for in order."""

    def __init__(self, uri: str, settings: Settings) -> None:
        """Opens the file; see `read_table`."""
        self._file = storage.open_file(uri)
        self._parquet = pq.ParquetFile(self._file)
        self._column = media_column(self._parquet.schema_arrow, settings.image_column)
        self._group, self._next = -1, 0
        self._rows: Iterator[dict] = iter(())

    def read(self, group: int, row: int) -> bytes:
        """Returns the media's bytes of a row of a row group."""
        if group != self._group or row < self._next:
            self._group, self._next = group, 0
            self._rows = _rows(self._parquet, group, [self._column])
        for values in self._rows:
            self._next += 1
            if self._next > row:
                return _content(values[self._column])[0] or b""
        return b""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _rows(parquet: pq.ParquetFile, group: int, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for batch in parquet.iter_batches(BATCH, [group], list(columns)):
        yield from batch.to_pylist()


def _sample(
    uri: str, number: int, group: int, row: int, value: Any, metadata: dict, settings: Settings
) -> Found:
    content, path = _content(value)
    key = text(path) if path else str(number)
    if content is None:
        return Found(uri, key, metadata=metadata, problem=LeftOut("no_media", "the row has no bytes"))
    suffix = PurePosixPath(key).suffix[1:].lower()
    caption = caption_of(metadata, settings.caption_column)
    suffix = suffix if suffix in SUFFIXES else ""
    return Found(uri, key, suffix, group, row, caption, metadata, lambda: content)


def _content(value: Any) -> tuple[bytes | None, str | None]:
    """The bytes and the path of a cell."""
    if isinstance(value, dict):
        path = value.get("path")
        return value.get("bytes"), path if isinstance(path, str) else None
    return value, None


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_struct(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and any(
        field.name == "bytes" and _is_binary(field.type) for field in kind
    )


def _holds_bytes(kind: pa.DataType) -> bool:
    return _is_binary(kind) or _is_struct(kind)
