"""What the numbers of records mean: dtype and range decide, and what cannot be meant is refused.

Shapes: C channels, F frames, H rows, W columns.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from data_pipelines.text import decode

LOOKED_AT = 64  # records, spread over a source
BRIGHT = 16.0  # what is never negative and goes beyond is no latent, and no pixel of [-1, 1]
MEANS, DEVIATIONS = 1.0, (0.2, 3.0)  # |mean| at most, and deviations, that need no warning


class Records(Protocol):
    """A source, as far as it is looked at here; see `sources.Source`."""

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
    """What the `x` of some records holds, those left out that are not finite."""

    records: int
    not_finite: tuple[int, ...]
    mean: float
    deviation: float
    low: float
    high: float

    def line(self, *, pixels: bool) -> str:
        """Returns the figures beside what a path from data to noise expects."""
        wanted = "pixels are expected in [-1, 1]" if pixels else "about 0 and 1 are expected"
        return (
            f"data: mean {self.mean:.3g}, deviation {self.deviation:.3g}, from {self.low:.3g} to {self.high:.3g} in "
            f"{self.records} records ({wanted})"
        )

    def warning(self, *, pixels: bool) -> str | None:
        """Returns what is hardly meant, or None."""
        if pixels and (self.low < -1 or self.high > 1):
            return f"data: pixels from {self.low:.3g} to {self.high:.3g}; they are expected in [-1, 1]"
        if self.low >= 0 and self.high > 0:
            return (
                f"data: no value is negative (from {self.low:.3g} to {self.high:.3g}); pixels in [0, 1] would be "
                "2x - 1, latents have both signs"
            )
        low, high = DEVIATIONS
        if abs(self.mean) > MEANS or not low <= self.deviation <= high:
            return (
                f"data: mean {self.mean:.3g} and deviation {self.deviation:.3g} are far from 0 and 1, for which noise "
                "and data are mixed; scale the data (docs/data.md)"
            )
        return None


def look(data: Any, source: Records) -> Values:
    """Looks at some records, evenly spread over the source.

    Args:
        data: the `data` part of a config, for messages.
        source: not empty.

    Raises:
        ValueError: they hold the floats 0..255, or nothing that is finite.
    """
    numbers = np.unique(np.linspace(0, len(source) - 1, min(len(source), LOOKED_AT)).astype(int)).tolist()
    bad = not_finite(source, numbers)
    good = [number for number in numbers if number not in bad]
    if not good:
        raise ValueError(
            f"data.name = {data.name!r}: all of {len(bad)} records have values that are not finite"
        )
    count, total, squares, low, high = 0, 0.0, 0.0, np.inf, -np.inf
    for number in good:
        x = np.asarray(source[number]["x"], np.float64)
        count, total, squares = count + x.size, total + x.sum(), squares + (x**2).sum()
        low, high = min(low, x.min()), max(high, x.max())
    if low >= 0 and high > BRIGHT:
        raise ValueError(
            f"data.name = {data.name!r}: the floats of {len(good)} records go from {low:g} to {high:g}, like pixels "
            "of 0..255; store those as uint8, or scaled to [-1, 1]"
        )
    mean = float(total / count)
    deviation = float(np.sqrt(max(squares / count - mean**2, 0)))
    return Values(len(good), tuple(bad), mean, deviation, float(low), float(high))


def not_finite(source: Records, records: Iterable[int]) -> list[int]:
    """Returns those of these records that hold a value, or a text state, that is not finite."""
    return [int(number) for number in records if not _is_finite(source[int(number)])]


def _is_finite(sample: Mapping[str, np.ndarray]) -> bool:
    states = decode(sample["text"]) if "text" in sample else np.zeros(())
    return bool(np.isfinite(sample["x"]).all() and np.isfinite(states).all())
