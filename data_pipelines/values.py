"""What the numbers of records mean: dtype and range decide, and what cannot be meant is refused.

Shapes: C channels, F frames, H rows, W columns.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from data_pipelines.text import decode

LOOKED_AT = 64  # records, spread over a source
AT_MOST = 2**27  # values that are looked at, if that leaves 8 records: 0.5 GiB of float32
BRIGHT = 16.0  # what is never negative and goes beyond is no latent, and no pixel of [-1, 1]
MEANS, DEVIATIONS = 1.0, (0.2, 3.0)  # |mean| at most, and deviations of latents, that need no warning
ROUNDING = 1e-3  # that pixels may lie outside [-1, 1]
CONTRAST = 0.1  # from the darkest to the brightest pixel, at least


class Records(Protocol):
    """A source, as far as it is looked at here; see `sources.Source`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, F, H, W) of every record."""
        ...

    def __len__(self) -> int:
        """Returns N."""
        ...

    def __getitem__(self, record: int) -> Mapping[str, np.ndarray]:
        """Returns record number `record`."""
        ...


def check_x_dtype(dtype: np.dtype) -> None:
    """Raises for what `x` cannot be.

    Raises:
        ValueError: it is neither a float nor uint8.
    """
    if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
        raise ValueError(f"'x' has dtype {dtype}, must be a float (taken as it is) or uint8 (pixels 0..255)")


def as_x(stored: np.ndarray) -> np.ndarray:
    """Returns a record's `x` as float32: pixels of uint8 as [-1, 1], floats as they are."""
    if stored.dtype == np.uint8:
        return stored.astype(np.float32) / 127.5 - 1
    return stored.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Values:
    """What the `x` of some records holds, those left out that are not finite.

    Attributes:
        records: how many.
        not_finite: the numbers of those left out.
        mean: of all values.
        deviation: of all values from it.
        low: the smallest.
        high: the largest.
        highest: the record that has it.
    """

    records: int
    not_finite: tuple[int, ...]
    mean: float
    deviation: float
    low: float
    high: float
    highest: int

    def line(self, *, pixels: bool) -> str:
        """Returns the figures beside what a path from data to noise expects."""
        wanted = "pixels are expected in [-1, 1]" if pixels else "about 0 and 1 are expected"
        return (
            f"data: mean {self.mean:.3g}, deviation {self.deviation:.3g}, from {self.low:.3g} to {self.high:.3g} in "
            f"{self.records} records ({wanted})"
        )

    def warning(self, *, pixels: bool) -> str | None:
        """Returns what is hardly meant, or None."""
        span = f"from {self.low:.3g} to {self.high:.3g}"
        if pixels and max(-self.low, self.high) > 1 + ROUNDING:
            return f"data: pixels {span} (record {self.highest}); they are expected in [-1, 1]"
        if self.low >= 0 and self.high > 0:
            return f"data: no value is negative ({span}); pixels in [0, 1] would be 2x - 1, latents have both signs"
        if pixels:
            few = self.high - self.low < CONTRAST
            return f"data: pixels {span} hardly differ; they are expected in [-1, 1]" if few else None
        low, high = DEVIATIONS
        if abs(self.mean) > MEANS or not low <= self.deviation <= high:
            return (
                f"data: mean {self.mean:.3g} and deviation {self.deviation:.3g} are far from 0 and 1, for which noise "
                "and data are mixed; scale the data (docs/data.md)"
            )
        return None


def look(data: Any, source: Records, *, states: int = 0) -> Values:
    """Looks at some records, evenly spread over the source.

    Args:
        data: the `data` part of a config, for messages.
        source: not empty.
        states: how many text states of a record are used.

    Raises:
        ValueError: they hold the floats 0..255, or nothing that is finite.
    """
    count = min(LOOKED_AT, max(AT_MOST // max(math.prod(source.shape), 1), 8), len(source))
    numbers = np.unique(np.linspace(0, len(source) - 1, count).astype(np.int64)).tolist()
    bad, figures = [], {}
    for number in numbers:
        sample = source[number]
        if _is_finite(sample, states):
            x = sample["x"]
            figures[number] = [f(x, dtype=np.float64) for f in (np.mean, np.var)] + [x.min(), x.max()]
        else:
            bad.append(number)
    if not figures:
        raise ValueError(
            f"data.name = {data.name!r}: all of {len(bad)} records have values that are not finite"
        )
    means, variances, lows, highs = np.array(list(figures.values()), np.float64).T
    low, high, highest = lows.min(), highs.max(), list(figures)[highs.argmax()]
    if low >= 0 and high > BRIGHT:
        raise ValueError(
            f"data.name = {data.name!r}: the floats of {len(figures)} records go from {low:g} to {high:g} (record "
            f"{highest}), like pixels of 0..255; store those as uint8, or scaled to [-1, 1]"
        )
    deviation = float(np.sqrt(variances.mean() + means.var()))  # all records have the same number of values
    return Values(len(figures), tuple(bad), float(means.mean()), deviation, float(low), float(high), highest)


def not_finite(source: Records, records: Iterable[int], *, states: int = 0) -> list[int]:
    """Returns those of these records that hold a value, or one in their first text states, that is not finite."""
    return [int(number) for number in records if not _is_finite(source[int(number)], states)]


def _is_finite(sample: Mapping[str, np.ndarray], states: int) -> bool:
    text = decode(sample["text"][:states]) if states else np.zeros(())
    return bool(np.isfinite(sample["x"]).all() and np.isfinite(text).all())
