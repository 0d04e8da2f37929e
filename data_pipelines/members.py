"""What a source consists of: buckets of one shape, and the sources of a mixture.

Shapes: C channels, F frames, H rows, W columns.
"""

from fractions import Fraction
from typing import Any, NamedTuple

from data_pipelines.mixture import Mixture


class Bucket(NamedTuple):
    """Records of one shape, numbered one after the other from `first` on."""

    shape: tuple[int, ...]
    first: int
    count: int


class Member(NamedTuple):
    """A source of a mixture, or the one there is.

    Attributes:
        source: that reads its records, by numbers of its own.
        first: number of its first record in the whole.
        weight: see `mixture.Entry`.
        flip: whether its records are mirrored.
        buckets: by numbers of its own.
    """

    source: Any
    first: int
    weight: Fraction
    flip: bool
    buckets: tuple[Bucket, ...]


def members_of(source: Any, *, flip: bool = False) -> list[Member]:
    """Returns the sources of a mixture; any other is its own only one, mirrored if `flip`."""
    if isinstance(source, Mixture):
        parts = zip(source.entries, source.sources, source.starts, strict=False)
        return [Member(s, first, e.weight, e.flip, _buckets(s)) for e, s, first in parts]
    return [Member(source, 0, Fraction(1), flip, _buckets(source))]


def shapes_of(source: Any) -> dict[tuple[int, ...], int]:
    """Returns the records of each shape (C, F, H, W)."""
    counts: dict[tuple[int, ...], int] = {}
    for member in members_of(source):
        for bucket in member.buckets:
            counts[bucket.shape] = counts.get(bucket.shape, 0) + bucket.count
    return counts


def _buckets(source: Any) -> tuple[Bucket, ...]:
    found = getattr(source, "buckets", None)
    if found is None:
        return (Bucket(tuple(source.shape), 0, len(source)),)
    return tuple(Bucket(tuple(shape), first, count) for shape, first, count in found)
