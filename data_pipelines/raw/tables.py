"""Tables of metadata (JSON lines, CSV, Parquet) to columns, only those that are asked for.

A line that cannot be read is a row of its own that says so: one bad line of a million costs one record.
"""

import codecs
import contextlib
import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from data_pipelines.arrays import named
from data_pipelines.raw.problems import Unusable

SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
_LINE = 16 * 2**20  # bytes of a line of CSV or JSON at most
csv.field_size_limit(_LINE)  # of the whole process, as csv has it


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of some columns.

    Attributes:
        names: of all columns of the file.
        columns: values of those that were asked for, None where a row has none.
        problems: of rows that cannot be read, by their number; their values are None.
    """

    names: tuple[str, ...]
    columns: dict[str, list[Any]]
    problems: dict[int, Unusable]

    def __len__(self) -> int:
        """Returns the number of rows."""
        return max((len(values) for values in self.columns.values()), default=0)


@contextlib.contextmanager
def reading(*places: Path | str) -> Iterator[None]:
    """`arrays.named` for pyarrow, which raises an OSError without a number for what is damaged, too."""
    with named(*places):
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise ValueError(str(error)) from error
            raise


def read(path: Path, choose: Callable[[tuple[str, ...]], list[str]]) -> Table:
    """Reads a table.

    Args:
        path: its file, which ends in one of `SUFFIXES`.
        choose: says for the names of the columns which are wanted.

    Raises:
        ValueError: the file cannot be read as what its name says, or `choose` raised.
        OSError: the machine failed.
    """
    if path.suffix.lower() == ".parquet":
        with reading(path):
            file = parquet.ParquetFile(path, memory_map=True)
        names = tuple(file.schema_arrow.names)
        wanted = choose(names)
        with reading(path):
            table = file.read(columns=wanted)
            return Table(names, {name: table.column(name).to_pylist() for name in wanted}, {})
    rows = _json_lines if path.suffix.lower() == ".jsonl" else _csv_rows
    with named(path):
        names = tuple(dict.fromkeys(name for row in rows(path) if isinstance(row, dict) for name in row))
    wanted = choose(names)
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    problems = {}
    with named(path):
        for number, row in enumerate(rows(path)):
            if isinstance(row, Unusable):
                problems[number] = row
            for name, values in columns.items():
                values.append(None if isinstance(row, Unusable) else row.get(name))
    return Table(names, columns, problems)


def _json_lines(path: Path) -> Iterator[dict[str, Any] | Unusable]:
    """The objects of a file, one a line; empty lines are none."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(_LINE):
            number += 1
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("is no object")
                yield row
            except (ValueError, RecursionError) as error:  # of JSON and of UTF-8
                yield Unusable("bad_metadata", f"line {number} of {path.name}: {error}")


def _csv_rows(path: Path) -> Iterator[dict[str, Any] | Unusable]:
    """The rows of a file by its header; bytes that are no UTF-8 become surrogates, which no caption may have."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        rows = csv.reader((line.replace("\0", "\ufffd") for line in file), delimiter=delimiter, strict=False)
        header = next(rows, [])
        if len(set(header)) < len(header):
            raise ValueError(f"has two columns of one name: {', '.join(header)}")
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                yield Unusable(
                    "bad_metadata",
                    f"line {rows.line_num} of {path.name} has {len(row)} fields, its header {len(header)}",
                )
                continue
            yield {name: value if value != "" else None for name, value in zip(header, row, strict=True)}
