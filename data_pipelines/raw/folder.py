"""A folder of pictures or of films, or a table of their paths: captions beside them, in metadata, or none."""

import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.raw import captions as texts
from data_pipelines.raw import listing, tables
from data_pipelines.raw.captions import Labels
from data_pipelines.raw.filters import Filter, conditions
from data_pipelines.raw.media import Stored
from data_pipelines.raw.problems import Unusable
from data_pipelines.raw.records import RawRecord

SUFFIXES = {
    "image": (
        *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp"),
        *(".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm"),
    ),
    "video": (
        *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"),
        *(".mpg", ".mpeg", ".ts", ".flv", ".ogv", ".wmv", ".gif"),
    ),
}
METADATA = tuple(f"metadata{suffix}" for suffix in tables.SUFFIXES)
PATHS = ("file_name", "path", "file", "filename")  # a column of paths where none is named
FOLDER = "folder"  # labels are the names of the folders


@dataclasses.dataclass(frozen=True)
class _Row:
    """What a table says of a file: all values are None in a row that cannot be read."""

    caption: Any = None
    label: Any = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    problem: Unusable | None = None


@dataclasses.dataclass(frozen=True)
class _Entry:
    """A record, not yet looked at: its key, its path below the root, and its row."""

    key: str
    name: str
    row: _Row | None = None
    problem: Unusable | None = None


class FolderSource:
    """Files of one kind, in the order of their paths, or of the rows of a table.

    `path` is a folder, which is listed with those below, or a table with a column of paths.  In a folder a table
    `metadata.jsonl`, `.csv` or `.parquet` has rows of the files beside and below it by its column `file_name`, as
    `datasets` reads it.  The caption of `a.jpg` is in that table, or in `a.txt` beside the file.
    """

    def __init__(
        self,
        path: str,
        kind: str,
        *,
        captions: str = "auto",
        caption: str = "",
        label: str = "",
        classes: int = 0,
        path_column: str = "",
        root: str = "",
        max_caption: int = texts.LONGEST,
        where: str = "",
        min_side: int = 0,
        max_aspect: float = 0.0,
        min_caption: int = 0,
        outside: bool = False,
    ) -> None:
        """Lists the files and reads the tables.

        Args:
            path: a folder, or a table.
            kind: "image" or "video".
            captions: "required"; "optional"; "none"; "auto" is required where any record has one.
            caption: the column of captions; "" is the first of "caption", "text", "prompt".
            label: the column of class labels, or "folder" for the names of the folders that files lie in; "" is a
                column "label" where there is one.
            classes: number of classes; 0 counts them.
            path_column: the column of paths; "" is the first of "file_name", "path", "file", "filename".
            root: the folder that the paths of a table are in; "" is that of the table.
            max_caption: characters of a caption.
            where: conditions on columns, see `filters.conditions`, as the next three.
            min_side: of columns "width" and "height".
            max_aspect: of the same.
            min_caption: characters, of a column of captions.
            outside: files may lie outside the folder, by links and by absolute paths in tables.

        Raises:
            ValueError: an option is wrong, there is nothing to read, or the filters leave nothing.
        """
        texts.check_option(captions)
        self.kind, self._max_caption, self._outside = kind, max_caption, outside
        self._name = f"{kind}s: {path}"
        self.notes: list[str] = []
        self._texts: dict[str, str] = {}  # paths of captions, by what comes before their suffix
        self._options = {"caption": caption, "label": "" if label == FOLDER else label, "path": path_column}
        options = {"where": where, "min_side": min_side, "max_aspect": max_aspect, "min_caption": min_caption}
        self._filter_options = options
        self._filter = Filter(
            conditions(**options, caption=caption or texts.COLUMNS[0])
        )  # until a table is seen
        self._left_out: set[str] = set()  # files of rows that the filters do not keep
        place = Path(path).expanduser()
        if path and place.suffix.lower() in tables.SUFFIXES and place.is_file():
            self._root = listing.check_folder(self._name, root) if root else place.parent.resolve()
            rows = self._read_table(place.resolve(), "")
            found = self._named_files(rows)
        else:
            self._root = listing.check_folder(self._name, path)
            found = self._listed_files()
        self._filter.check_some(self._name)
        if self._filter:
            self.notes.append(self._filter.summary())
        if not found:
            wanted = " ".join(SUFFIXES[kind])
            raise ValueError(f"{self._name}: has no {kind}, no file that ends in one of {wanted}")
        self._entries = found
        self._captions = self._have_captions(captions)
        self._by_folder = label == FOLDER
        self._set_labels(label, classes)

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self._entries)

    def __getitem__(self, record: int) -> RawRecord:
        """Returns record number `record`."""
        entry = self._entries[record]
        row = entry.row or _Row()
        try:
            if problem := entry.problem or row.problem:
                raise problem
            file = Stored(listing.within(self._root, entry.name, outside=self._outside))
            caption, label = self._caption(entry), None
            if self._labels is not None:
                label = self._labels.number(self._label_of(entry))
            return RawRecord(entry.key, self.kind, (file,), caption, label, row.facts)
        except Unusable as problem:
            return RawRecord(entry.key, self.kind, facts=row.facts, problem=problem)

    def _caption(self, entry: _Entry) -> str | None:
        if self._captions == "none":
            return None
        if entry.row is not None and entry.row.caption is not None:
            return texts.checked(entry.row.caption, self._max_caption)
        if beside := self._texts.get(os.path.splitext(entry.name)[0]):
            return texts.read(
                Stored(listing.within(self._root, beside, outside=self._outside)), self._max_caption
            )
        if self._captions == "required":
            raise Unusable("no_caption", texts.MISSING)
        return None

    def _have_captions(self, captions: str) -> str:
        if captions != "auto":
            return captions
        rows = any(entry.row is not None and entry.row.caption is not None for entry in self._entries)
        beside = self._texts and any(os.path.splitext(e.name)[0] in self._texts for e in self._entries)
        return "required" if rows or beside else "none"

    def _set_labels(self, label: str, classes: int) -> None:
        values = [self._label_of(entry) for entry in self._entries if entry.problem is None]
        self._labels, self.classes, self.class_names = None, None, ()
        if label or any(value is not None for value in values):
            self._labels = Labels(values, classes)
            self.classes, self.class_names = self._labels.count(values), self._labels.names

    def _label_of(self, entry: _Entry) -> Any:
        if self._by_folder:
            return os.path.basename(os.path.dirname(entry.name)) or self._root.name
        return None if entry.row is None else entry.row.label

    def _listed_files(self) -> list[_Entry]:
        names, others, odd, metadata = [], [], [], []
        for name, what in listing.counted(listing.walk(self._root, outside=self._outside), self._name):
            base, suffix = os.path.basename(name), os.path.splitext(name)[1].lower()
            if what == "file" and base in METADATA:
                metadata.append(name)
            elif what == "file" and suffix == ".txt":
                self._texts[os.path.splitext(name)[0]] = name
            elif suffix in SUFFIXES[self.kind] and what in ("file", "folder"):
                (names if what == "file" else odd).append(name)
            elif what != "folder":
                others.append(name if what == "file" else f"{name} ({what})")
        self.notes += listing.left_out(others, f"entries are no {self.kind} by their names")
        tables_ = [self._read_table(self._root / name, os.path.dirname(name)) for name in metadata]
        if not metadata and self._filter:
            raise ValueError(f"{self._name}: {self._filter.conditions[0].text} needs a table {METADATA[0]}")
        entries = [_Entry(name, name, problem=Unusable("no_file", "is a folder")) for name in odd]
        if not metadata:
            return sorted([_Entry(name, name) for name in names] + entries, key=lambda entry: entry.key)
        rows = self._named_files([row for table in tables_ for row in table])
        known = {entry.name for entry in rows} | self._left_out
        left = [name for name in names if name not in known]
        if self._filter:
            self.notes += listing.left_out(left, "files are in no table, so that no filter keeps them")
            left = []
        return rows + sorted([_Entry(name, name) for name in left] + entries, key=lambda entry: entry.key)

    def _named_files(self, rows: Iterable[tuple[str, _Row, bool]]) -> list[_Entry]:
        """Entries of the rows of tables; a file may have several rows, with other captions."""
        entries, seen, count = [], set(), {}
        for name, row, kept in rows:
            if not kept:
                self._left_out.add(name)
                continue
            count[name] = count.get(name, 0) + 1
            key = name if count[name] == 1 else f"{name}#{count[name]}"
            problem = row.problem
            if (name, repr(row.caption), repr(row.label)) in seen and not problem:
                problem = Unusable("duplicate", f"{name} has the same row before")
            seen.add((name, repr(row.caption), repr(row.label)))
            entries.append(_Entry(key, name, row, problem))
        return entries

    def _read_table(self, file: Path, below: str) -> list[tuple[str, _Row, bool]]:
        """(path below the root, row, whether the filters keep it) of each row."""
        chosen: dict[str, str | None] = {}

        def choose(names: Sequence[str]) -> list[str]:
            paths = texts.column(self._options["path"], "path_column", names, PATHS)
            if paths is None:
                raise ValueError(
                    f"{file}: needs a column of paths, {' or '.join(PATHS)}; it has {', '.join(names) or 'nothing'}"
                )
            chosen.update(path=paths, caption=texts.column(self._options["caption"], "caption", names))
            chosen.update(label=texts.column(self._options["label"], "label", names, ("label",)))
            if not self._filter.rows:
                self._filter = Filter(conditions(**self._filter_options, caption=chosen["caption"]))
            self._filter.check_columns(names, str(file))
            return list(dict.fromkeys([*(name for name in chosen.values() if name), *self._filter.columns]))

        table = tables.read(file, choose)
        kept = self._filter.keep(table.columns, len(table))
        none = [None] * len(table)
        paths, labels, captions = (
            table.columns.get(chosen[name] or "", none) for name in ("path", "label", "caption")
        )
        join = functools.partial(os.path.join, below)
        rows = []
        for number in range(len(table)):
            problem, name = table.problems.get(number), paths[number]
            if problem is None and (not isinstance(name, str) or not name):
                problem = Unusable("bad_metadata", f"row {number + 1} of {file.name} names no file")
            facts = {column: table.columns[column][number] for column in self._filter.columns}
            row = _Row(captions[number], labels[number], facts, problem)
            place = join(name) if isinstance(name, str) and name else f"{join(file.name)}:{number + 1}"
            place = place if ".." in place else os.path.normpath(place)
            rows.append((place, row, bool(kept[number]) or number in table.problems))
        return rows
