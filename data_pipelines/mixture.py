"""Several sources as one: weights that hold over a run, each batch of one source and one shape.

An entry of `data.mixture` is the text `"WEIGHT NAME PATH"`: a positive number, a key of `sources.SOURCES`, with `+flip`
or `-flip` behind it where it differs from `data.flip`, and the folder of those sources that have one.
"""

import bisect
import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from data_pipelines.text import TextInfo

FORM = "'WEIGHT NAME PATH', such as '0.8 shards data/images' or '1 digits-flip'"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One of `data.mixture`.

    Attributes:
        weight: its share of the batches is this over the sum of all.
        name: of the source.
        path: its folder, or "".
        flip: whether its records are mirrored at random.
    """

    weight: Fraction
    name: str
    path: str
    flip: bool


def parse(text: str, *, flip: bool) -> Entry:
    """Returns what an entry of `data.mixture` says.

    Args:
        text: the entry.
        flip: `data.flip`, for those that say nothing of it.

    Raises:
        ValueError: it is none.
    """
    words = text.split(maxsplit=2)
    if len(words) < 2:
        raise ValueError(f"data.mixture: {text!r} must be {FORM}")
    try:
        weight = Fraction(words[0])
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"data.mixture: {text!r} must begin with a positive number: {FORM}") from error
    if weight <= 0:
        raise ValueError(f"data.mixture: {text!r} has the weight {words[0]}, must be above 0")
    name = words[1]
    for ending, value in (("+flip", True), ("-flip", False)):
        if name.endswith(ending):
            name, flip = name.removesuffix(ending), value
    return Entry(weight, name, words[2] if len(words) > 2 else "", flip)


def without_paths(entries: Sequence[str]) -> tuple[str, ...]:
    """Returns the entries without their folders, which may move while a run goes on."""
    return tuple(" ".join(entry.split(maxsplit=2)[:2]) for entry in entries)


class Mixture:
    """The records of several sources, numbered source by source."""

    def __init__(self, members: Sequence[tuple[Entry, Any]]) -> None:
        """Takes the entries and their open sources.

        Raises:
            ValueError: they cannot train one network.
        """
        self.entries = [entry for entry, _ in members]
        self.sources = [source for _, source in members]
        self.starts = [0]
        for source in self.sources:
            self.starts.append(self.starts[-1] + len(source))
        self._same("channels", [source.shape[0] for source in self.sources])
        classes = [source.classes for source in self.sources]
        self.classes = None if None in classes else max(classes)
        self.captions = all(getattr(source, "captions", False) for source in self.sources)
        self.text = self._text([source.text for source in self.sources])
        self.shape = self.sources[0].shape

    def _same(self, what: str, values: Sequence[Any]) -> None:
        for entry, value in zip(self.entries, values, strict=True):
            if value != values[0]:
                one, other = (f"{e.name!r} {e.path}".strip() for e in (self.entries[0], entry))
                raise ValueError(
                    f"data.mixture: {what} of {one} are {values[0]}, of {other} {value}; must be the same"
                )

    def _text(self, infos: Sequence[TextInfo | None]) -> TextInfo | None:
        """What is known of the text of all, or None if one has none."""
        known = [info for info in infos if info is not None]
        if len(known) < len(infos):
            return None
        self._same("features of text states", [info.dim for info in known])
        nulls = [None if info.null is None else (info.null.shape, info.null.tobytes()) for info in known]
        if any(null != nulls[0] for null in nulls):
            raise ValueError(
                "data.mixture: the sources have different text states of the empty caption; encode all with one encoder"
            )
        longest = [info.longest for info in known]
        return TextInfo(
            known[0].dim, None if None in longest else max(n for n in longest if n), known[0].null
        )

    def __len__(self) -> int:
        """Returns the records of all sources."""
        return self.starts[-1]

    def __getitem__(self, record: int) -> Any:
        """Returns record number `record`."""
        member = bisect.bisect_right(self.starts, record) - 1
        return self.sources[member][record - self.starts[member]]
