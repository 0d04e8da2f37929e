"""The raw records of a command line: some sources end to end, in units of consecutive records."""

import bisect
import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path

from data_pipelines.raw import RAW, RawRecord, RawSource, open_raw, options_of
from data_pipelines.raw.naming import SourceName, parse_name
from ptdit_jax import files

SAMPLED = 256  # records of a source whose keys say whether it is the one of before


def parse(text: str) -> SourceName:
    """Read a `--source`.

    Raises:
      ValueError: it is not of the form of `data_pipelines.raw.naming`, or there is no such source.
    """
    try:
        name = parse_name(text, RAW)
    except ValueError as error:
        raise ValueError(f"--source={error}") from error
    return dataclasses.replace(name, path=str(files.path(name.path, "--source"))) if name.path else name


class Sources:
    """Records of all sources by one number, in the order of the command line."""

    def __init__(self, names: Sequence[SourceName], unit: int, index: Path):
        """Open them.

        Args:
          names: what to open.
          unit: records of a unit; the last has what is left.
          index: a folder for what sources note of their files, if they do.

        Raises:
          ValueError: see `data_pipelines.raw.open_raw`; the message begins with --source.
        """
        self.names, self.unit = names, unit
        self.opened: list[RawSource] = []
        for name in names:
            options = dict(name.options)
            if "cache" in options_of(name.name):
                options.setdefault("cache", str(index))
            try:
                self.opened.append(open_raw(name.name, name.path, **options))
            except ValueError as error:
                raise ValueError(f"--source: {error}") from error
        self._ends = list(itertools.accumulate(map(len, self.opened)))

    def __len__(self) -> int:
        """Records of all sources."""
        return self._ends[-1]

    def __getitem__(self, place: int) -> tuple[int, RawRecord]:
        """Record number `place` of all, and the number of its source."""
        source = bisect.bisect_right(self._ends, place)
        return source, self.opened[source][place - (self._ends[source - 1] if source else 0)]

    @property
    def units(self) -> int:
        """How many there are."""
        return -(-len(self) // self.unit)

    def places(self, unit: int) -> range:
        """The records of a unit."""
        return range(unit * self.unit, min((unit + 1) * self.unit, len(self)))

    @property
    def classes(self) -> int | None:
        """Classes of the labels of all sources; None where one has no labels."""
        numbers = [source.classes for source in self.opened]
        return max(number for number in numbers if number is not None) if None not in numbers else None

    def identity(self) -> dict[str, object]:
        """What tells these records from others: names, options, counts, and a hash of some keys; not the paths."""
        facts: dict[str, object] = {}
        for number, (name, source) in enumerate(zip(self.names, self.opened, strict=True), start=1):
            step = max(len(source) // SAMPLED, 1)
            keys = "\n".join(source[i].key for i in range(0, len(source), step))
            options = "&".join(f"{option}={value}" for option, value in sorted(name.options.items()))
            facts[f"source {number}"] = name.name + (f"?{options}" if options else "")
            facts[f"records of source {number}"] = len(source)
            facts[f"keys of source {number}"] = hashlib.sha256(keys.encode(errors="replace")).hexdigest()[:16]
        return facts


def check_apart(names: Sequence[SourceName], out: Path) -> None:
    """Refuse shards among the raw records: a later run would find them there.

    Raises:
      ValueError: the folder is in that of a source, or is one.
    """
    for name in names:
        if name.path:
            place = Path(name.path).resolve()
            if out.resolve().is_relative_to(place):
                raise ValueError(f"--out={out} must not lie in --source={name.path}; name a folder beside it")
