"""Hugging Face Parquet: tables whose rows have the bytes of a picture or a film in a column."""

import bisect
import collections
import dataclasses
import functools
import itertools
import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from data_pipelines.raw import captions as texts
from data_pipelines.raw import listing
from data_pipelines.raw.captions import Labels
from data_pipelines.raw.filters import Filter, conditions
from data_pipelines.raw.media import Held, Stored
from data_pipelines.raw.problems import Unusable
from data_pipelines.raw.records import KINDS, RawRecord
from data_pipelines.raw.tables import reading

MEDIA = ("image", "jpg", "png", "webp", "video", "mp4")  # columns of media, where there are several
OPEN = 32  # files that are open at a time
GROUPS = 8  # row groups that are in memory at a time: `datasets` writes 100 rows to one with pictures


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
    """A row group: its file and number, how many of its rows are used and which (None: all), or its problem."""

    file: Path
    number: int
    rows: int
    kept: np.ndarray | None = None
    problem: Unusable | None = None


class ParquetSource:
    """Rows of `.parquet` files, file after file in the order of their names.

    A column of media has `struct{bytes, path}`, as `datasets` writes it, or bytes alone; a row with a path and no
    bytes is a file beside the table.  Parquet can be read a row group at a time only: records are fast in their order
    and slow in any other.
    """

    def __init__(
        self,
        path: str,
        *,
        kind: str = "",
        media: str = "",
        captions: str = "auto",
        caption: str = "",
        label: str = "",
        classes: int = 0,
        max_caption: int = texts.LONGEST,
        where: str = "",
        min_side: int = 0,
        max_aspect: float = 0.0,
        min_caption: int = 0,
        outside: bool = False,
    ) -> None:
        """Reads the footers, and the columns that labels and filters need.

        Args:
            path: a folder, listed with those below, or a file.
            kind: "image" or "video"; "" is "video" for a column "video" or "mp4".
            media: the column of media; "" is the only one, or the first of "image", "jpg", "png", "webp", "video",
                "mp4".
            captions: "required"; "optional"; "none"; "auto" is required where there is a column of them.
            caption: the column of captions; "" is the first of "caption", "text", "prompt".
            label: the column of class labels; "" is "label" where there is one.
            classes: number of classes; 0 takes those of the `ClassLabel`, or counts them.
            max_caption: characters of a caption.
            where: conditions on columns, see `filters.conditions`, as the next three.
            min_side: of columns "width" and "height".
            max_aspect: of the same.
            min_caption: characters.
            outside: files that rows name may lie outside the folder.

        Raises:
            ValueError: a file or an option is wrong, there is no row, or the filters leave nothing.
        """
        texts.check_option(captions)
        if kind not in ("", *KINDS[:2]):
            raise ValueError(f"parquet: kind={kind!r} must be image or video")
        name = f"parquet: {path}"
        self._max_caption, self._outside = max_caption, outside
        self._root, self._files = listing.files(name, path, _is_parquet)
        if not self._files:
            raise ValueError(f"{name}: has no .parquet file")
        self.notes: list[str] = []
        self._readers = functools.lru_cache(maxsize=OPEN)(_open)
        schema = self._first_schema(name)
        self._media = _media_column(name, schema, media)
        self.kind = kind or ("video" if self._media in ("video", "mp4") else "image")
        self._caption = texts.column(caption, f"{name}: caption", schema.names)
        self._label = texts.column(label, f"{name}: label", schema.names, ("label",))
        if self._label and pa.types.is_nested(schema.field(self._label).type):
            raise ValueError(f"{name}: label={self._label!r} must be a column of numbers or of text")
        if captions == "auto":
            captions = "required" if self._caption else "none"
        self._captions = captions
        options = {"where": where, "min_side": min_side, "max_aspect": max_aspect, "min_caption": min_caption}
        wanted = Filter(conditions(**options, caption=self._caption))
        wanted.check_columns(schema.names, name)
        bytes_ = [column for column in schema.names if holds_bytes(schema.field(column).type)]
        self._facts = [n for n in schema.names if n not in (*bytes_, self._caption, self._label)]
        labels: set[Any] = set()
        files = listing.counted(self._files, f"{name}: Parquet files")
        self._groups = [group for file in files for group in self._groups_of(file, wanted, labels)]
        wanted.check_some(name)
        if wanted:
            self.notes.append(wanted.summary())
        self._starts = [0, *itertools.accumulate(group.rows for group in self._groups)]
        self._set_labels(schema, labels, classes)
        self._loaded: collections.OrderedDict[int, Any] = collections.OrderedDict()
        self._lock = threading.Lock()

    def _first_schema(self, name: str) -> pa.Schema:
        """The schema of the first file that can be read."""
        problem = None
        for file in self._files:
            try:
                return self._readers(file).schema_arrow
            except ValueError as error:
                problem = problem or error
        raise ValueError(f"{name}: none of {len(self._files):,} files can be read: {problem}") from problem

    def _groups_of(self, file: Path, wanted: Filter, labels: set[Any]) -> list["_Group"]:
        """The row groups of a file; what cannot be read of it is a group with one record that says so."""
        groups = []
        needed = [name for name in (self._media, self._caption, self._label) if name]
        columns = list(dict.fromkeys([*([self._label] if self._label else []), *wanted.columns]))
        try:
            reader = self._readers(file)
            there = reader.schema_arrow.names
            if missing := [column for column in [*needed, *wanted.columns] if column not in there]:
                raise ValueError(f"{file}: lacks the column {missing[0]!r}, which other files have")
        except ValueError as error:
            return [_Group(file, 0, 1, None, Unusable("damaged", str(error)))]
        for number in range(reader.num_row_groups):
            try:
                rows, kept = reader.metadata.row_group(number).num_rows, None
                if columns:
                    with reading(file, f"row group {number}"):
                        values = reader.read_row_group(number, columns=columns)
                    if wanted:
                        lists = {name: values.column(name).to_pylist() for name in wanted.columns}
                        kept = wanted.keep(lists, rows).nonzero()[0]
                    if self._label:
                        labels.update(values.column(self._label).to_pylist())
                groups.append(_Group(file, number, rows if kept is None else len(kept), kept))
            except ValueError as error:
                groups.append(_Group(file, number, 1, None, Unusable("damaged", str(error))))
        return groups

    def __len__(self) -> int:
        """Returns the number of rows that the filters keep."""
        return self._starts[-1]

    def __getitem__(self, record: int) -> RawRecord:
        """Returns row number `record`."""
        number = bisect.bisect_right(self._starts, record) - 1
        group, place = self._groups[number], record - self._starts[number]
        row_number = place if group.kept is None else int(group.kept[place])
        shard = group.file.relative_to(self._root).with_suffix("").as_posix()
        key = f"{shard}/{group.number:05d}-{row_number:06d}"
        facts: dict[str, Any] = {}
        try:
            if group.problem is not None:
                raise group.problem
            table = self._row_group(number)
            if row_number >= len(table):
                raise Unusable(
                    "damaged", f"{group.file}: row group {group.number} has {len(table)} rows alone"
                )
            row = table.slice(row_number, 1).to_pylist()[0]
            facts = {name: row[name] for name in self._facts if name in row}
            media = self._media_of(row[self._media])
            caption = None
            if self._captions != "none":
                value = row.get(self._caption or "")
                if value is not None:
                    caption = texts.checked(value, self._max_caption)
                elif self._captions == "required":
                    raise Unusable("no_caption", texts.MISSING)
            label = None if self._labels is None else self._labels.number(row.get(self._label or ""))
            return RawRecord(key, self.kind, (media,), caption, label, facts)
        except Unusable as problem:
            return RawRecord(key, self.kind, facts=facts, problem=problem)

    def _media_of(self, value: Any) -> Held | Stored:
        if isinstance(value, dict):
            content, path = value.get("bytes"), value.get("path")
        else:
            content, path = value, None
        if isinstance(content, bytes):
            return Held(content)
        if isinstance(path, str) and path:
            return Stored(listing.within(self._root, path, outside=self._outside))
        raise Unusable("no_media", f"has no bytes in the column {self._media!r}")

    def _row_group(self, number: int) -> Any:
        """A row group, read by one thread and kept for the others."""
        group = self._groups[number]
        with self._lock:
            if number in self._loaded:
                self._loaded.move_to_end(number)
                return self._loaded[number]
            try:
                columns = [self._media, *filter(None, (self._caption, self._label)), *self._facts]
                with reading(group.file, f"row group {group.number}"):
                    table = parquet.ParquetFile(group.file).read_row_group(group.number, columns=columns)
            except ValueError as error:
                raise Unusable("damaged", str(error)) from error
            self._loaded[number] = table
            if len(self._loaded) > GROUPS:
                self._loaded.popitem(last=False)
            return table

    def _set_labels(self, schema: pa.Schema, values: Iterable[Any], classes: int) -> None:
        self._labels, self.classes, self.class_names = None, None, ()
        if not self._label:
            return
        names = _class_names(schema, self._label)
        self._labels = Labels(values, classes or len(names))
        self.classes = self._labels.count(values)
        self.class_names = names or self._labels.names


def _is_parquet(name: str) -> bool:
    return name.endswith(".parquet") and not name.rpartition("/")[2].startswith("_")


def _open(path: Path) -> parquet.ParquetFile:
    with reading(path):
        return parquet.ParquetFile(path, memory_map=True)


def _media_column(name: str, schema: pa.Schema, media: str) -> str:
    """The column that holds media."""
    fields = [schema.field(i) for i in range(len(schema.names))]
    found = [field.name for field in fields if holds_bytes(field.type)]
    if media:
        if media not in found:
            raise ValueError(
                f"{name}: media={media!r} must be a column of bytes or of struct{{bytes, path}}; such are "
                f"{', '.join(found) or 'none'}, all are {', '.join(schema.names)}"
            )
        return media
    if not found:
        raise ValueError(
            f"{name}: no column has bytes or struct{{bytes, path}}; there are {', '.join(schema.names)}"
        )
    usual = next((column for column in MEDIA if column in found), found[0] if len(found) == 1 else "")
    if not usual:
        raise ValueError(f"{name}: which column holds the media, media={' or '.join(found)}?")
    return usual


def holds_bytes(kind: pa.DataType) -> bool:
    """Returns whether a column of such a type may hold media."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Names of the classes of a `ClassLabel`, which `datasets` writes beside the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()
