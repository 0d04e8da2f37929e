"""Counts of what was encoded, of a unit and of all units together."""

import collections
import dataclasses
import math
from typing import Any

from ptdit_jax.encode.reading import Sample


def _counter() -> collections.Counter[str]:
    return collections.Counter()


@dataclasses.dataclass
class Statistics:
    """How many records have what; keys are text, because they are stored as JSON.

    Attributes:
      shapes: "FxHxW" of pixels.
      sides: the shorter side before, in pixels, rounded down to a step of an eighth of a power of two.
      aspects: width over height before, as the nearest whole number of steps of 2 ** 0.25.
      tokens: of captions, without padding.
    """

    shapes: collections.Counter[str] = dataclasses.field(default_factory=_counter)
    sides: collections.Counter[str] = dataclasses.field(default_factory=_counter)
    aspects: collections.Counter[str] = dataclasses.field(default_factory=_counter)
    tokens: collections.Counter[str] = dataclasses.field(default_factory=_counter)

    def add(self, sample: Sample, shape: tuple[int, ...], tokens: int) -> None:
        """Count a record.

        Args:
          sample: without its pixels.
          shape: (F, H, W) of these.
          tokens: of its caption; 0 for none.
        """
        rows, columns = sample.size
        side = min(rows, columns)
        step = max(2 ** (side.bit_length() - 4), 1)
        self.shapes["x".join(map(str, shape))] += 1
        self.sides[str(side // step * step)] += 1
        self.aspects[str(round(4 * math.log2(columns / rows)))] += 1
        if tokens:
            self.tokens[str(tokens)] += 1

    def merge(self, other: dict[str, Any]) -> None:
        """Add those of a unit, from `as_dict`."""
        for name, counts in other.items():
            getattr(self, name).update(counts)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has them."""
        return {name: dict(sorted(counts.items())) for name, counts in vars(self).items()}
