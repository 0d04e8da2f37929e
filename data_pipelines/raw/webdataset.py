"""Tar shards as img2dataset and video2dataset write them: any sample by its number, filters without opening a tar."""

import bisect
import functools
import hashlib
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from data_pipelines.raw import captions as texts
from data_pipelines.raw import listing
from data_pipelines.raw.captions import Labels
from data_pipelines.raw.filters import Filter, conditions
from data_pipelines.raw.problems import Unusable
from data_pipelines.raw.records import RawRecord
from data_pipelines.raw.tables import reading
from data_pipelines.raw.tar_index import TarIndex, indexed, problem_of

OPEN = 64  # indexes in memory at a time, where they are kept in files
THREADS = 8  # that read headers, where a file system answers late
KEY, STATUS, SUCCESS = "key", "status", "success"  # columns of img2dataset's Parquet


class WebDataset:
    """Samples of `.tar` shards, shard after shard in the order of their names.

    A record's key is `SHARD/KEY`.  With a filter the Parquet beside each tar says which samples there are, and a tar
    is opened when one of its samples is first read; without one the headers of all tars are read, once if there is a
    `cache`.
    """

    def __init__(
        self,
        path: str,
        *,
        cache: str = "",
        captions: str = "auto",
        caption: str = "",
        label: str = "",
        classes: int = 0,
        max_caption: int = texts.LONGEST,
        where: str = "",
        min_side: int = 0,
        max_aspect: float = 0.0,
        min_caption: int = 0,
    ) -> None:
        """Finds the shards and their samples.

        Args:
            path: a folder with `.tar` files, or one of them.
            cache: a folder in which the offsets are kept; it is made. "" keeps them in memory alone.
            captions: "required"; "optional"; "none"; "auto" is required where the first samples have one.
            caption: the field of the `.json` that is the caption; "" is the `.txt`.
            label: the field of the `.json` that is the class; "" is the `.cls` where the first samples have one.
            classes: number of classes; needed with labels, because no tar tells.
            max_caption: characters of a caption.
            where: conditions on columns of the Parquet, see `filters.conditions`, as the next three.
            min_side: of columns "width" and "height".
            max_aspect: of the same.
            min_caption: characters, of the column "caption".

        Raises:
            ValueError: there is no tar, an option is wrong, or the filters leave nothing.
        """
        texts.check_option(captions)
        name = f"webdataset: {path}"
        self._caption, self._label, self._max_caption = caption, label, max_caption
        self._root, self._tars = listing.files(name, path, lambda file: file.endswith(".tar"))
        if not self._tars:
            raise ValueError(
                f"{name}: has no .tar file (those that are compressed have no offsets: gunzip them)"
            )
        self._cache = Path(cache).expanduser() if cache else None
        if self._cache is not None:
            self._cache.mkdir(parents=True, exist_ok=True)
        self._index = functools.lru_cache(maxsize=OPEN if cache else None)(self._load)
        self._kept: list[np.ndarray] | None = None  # keys of each tar that the filters keep
        self.notes: list[str] = []
        options = {"where": where, "min_side": min_side, "max_aspect": max_aspect, "min_caption": min_caption}
        wanted = Filter(conditions(**options, caption="caption"))
        with ThreadPoolExecutor(THREADS) as pool:
            if wanted:
                kept = listing.counted((_keys(tar, wanted) for tar in self._tars), f"{name}: Parquet files")
                self._kept = list(kept)
                wanted.check_some(name)
                self.notes.append(wanted.summary())
                counts = [len(keys) for keys in self._kept]
            else:
                sizes = pool.map(lambda number: len(self._index(number).keys), range(len(self._tars)))
                counts = list(listing.counted(sizes, f"{name}: tars of {len(self._tars):,}"))
        self._starts = [0, *itertools.accumulate(counts)]
        self._captions, self.kind, labelled = self._look(captions)
        self.classes: int | None = classes if label or labelled else None
        if (label or labelled) and classes < 1:
            raise ValueError(f"{name}: has class labels; say how many classes there are, classes=N")
        self._labels = Labels([], classes) if self.classes else None

    def __len__(self) -> int:
        """Returns the number of samples in all shards."""
        return self._starts[-1]

    def __getitem__(self, record: int) -> RawRecord:
        """Returns sample number `record`."""
        number = bisect.bisect_right(self._starts, record) - 1
        tar, index = self._tars[number], self._index(number)
        shard = tar.relative_to(self._root).with_suffix("").as_posix()
        sample: int | None = record - self._starts[number]
        if self._kept is not None:
            key = bytes(self._kept[number][sample])
            sample = self._found(number).get(key)
            if sample is None:
                problem = Unusable(
                    "missing", f"{tar.name} has no sample {key.decode()}, which its Parquet names"
                )
                return RawRecord(f"{shard}/{key.decode()}", "image", problem=problem)
        key = f"{shard}/{index.keys[sample].decode('utf-8', 'replace')}"
        if sample in index.problems:
            key = key if index.problems[sample][0] == "no_media" else f"{key}#{sample}"
        kind = "video" if index.films[sample] else "image"
        facts: dict[str, Any] = {}
        try:
            if problem := problem_of(index, sample):
                raise problem
            facts = self._facts(tar, index, sample)
            caption = self._caption_of(tar, index, sample, facts)
            label = self._label_of(tar, index, sample, facts)
            media = index.part(tar, sample, "media")
            if media is None:
                raise Unusable("no_media", "has no picture and no film")
            return RawRecord(key, kind, (media,), caption, label, facts)
        except Unusable as problem:
            return RawRecord(key, kind, facts=facts, problem=problem)

    def _load(self, number: int) -> TarIndex:
        tar = self._tars[number]
        cache = None
        if self._cache is not None:
            place = hashlib.sha256(str(tar).encode()).hexdigest()[:12]
            cache = self._cache / f"{tar.stem}-{place}.npz"
        return indexed(tar, cache)

    @functools.lru_cache(maxsize=OPEN)  # noqa: B019  # a source lives as long as its process
    def _found(self, number: int) -> dict[bytes, int]:
        """The samples of a tar by the last part of their keys, as its Parquet has them."""
        keys = self._index(number).keys
        return {key.rpartition(b"/")[2]: sample for sample, key in reversed(list(enumerate(keys.tolist())))}

    def _facts(self, tar: Path, index: TarIndex, sample: int) -> dict[str, Any]:
        part = index.part(tar, sample, "json")
        if part is None:
            return {}
        try:
            facts = json.loads(part.read())
            return facts if isinstance(facts, dict) else {}
        except (ValueError, RecursionError) as error:
            if self._caption or self._label:
                raise Unusable("bad_metadata", f"its .json: {error}") from error
            return {}

    def _caption_of(self, tar: Path, index: TarIndex, sample: int, facts: dict[str, Any]) -> str | None:
        if self._captions == "none":
            return None
        if self._caption:
            if (value := facts.get(self._caption)) is not None:
                return texts.checked(value, self._max_caption)
        elif part := index.part(tar, sample, "txt"):
            return texts.read(part, self._max_caption)
        if self._captions == "required":
            raise Unusable("no_caption", texts.MISSING)
        return None

    def _label_of(self, tar: Path, index: TarIndex, sample: int, facts: dict[str, Any]) -> int | None:
        if self._labels is None:
            return None
        if self._label:
            return self._labels.number(facts.get(self._label))
        part = index.part(tar, sample, "cls")
        return self._labels.number(texts.text_of(part.read()).strip() if part else None)

    def _look(self, captions: str) -> tuple[str, str, bool]:
        """What "auto" is, the kind of the records, and whether there are `.cls`, by the first tar with a sample."""
        for number in range(len(self._tars)):
            if self._starts[number] == self._starts[number + 1]:
                continue
            index = self._index(number)
            if not len(index.keys):
                continue
            has = np.max(index.places[:, :, 0], axis=0) >= 0  # (4,)
            if captions == "auto":
                captions = "required" if self._caption or has.tolist()[1] else "none"
            return captions, "video" if index.films.any() else "image", has.tolist()[3]
        return captions, "image", False


def _keys(tar: Path, wanted: Filter) -> np.ndarray:
    """The keys (n,) bytes of a tar's samples that the filters keep, by the Parquet beside it."""
    beside = tar.with_suffix(".parquet")
    if not beside.is_file():
        raise ValueError(
            f"{tar}: {wanted.conditions[0].text} needs {beside.name} beside it, which is not there"
        )
    with reading(beside):
        file = parquet.ParquetFile(beside, memory_map=True)
        names = file.schema_arrow.names
    wanted.check_columns(names, str(beside))
    if KEY not in names:
        raise ValueError(f"{beside}: has no column {KEY!r}; there are {', '.join(names)}")
    columns = list(dict.fromkeys([KEY, *(name for name in (STATUS,) if name in names), *wanted.columns]))
    with reading(beside):
        table = file.read(columns=columns)
        if STATUS in names:  # what was not downloaded is in no tar
            good = [status == SUCCESS for status in table.column(STATUS).to_pylist()]
            table = table.filter(good)
        values = {name: table.column(name).to_pylist() for name in columns}
    kept = wanted.keep(values, len(table))
    keys = [str(key).encode() for key, keep in zip(values[KEY], kept, strict=True) if keep]
    return np.array(keys or [b""], "S")[: len(keys)]
