"""Runs that differ in their seed alone, taken together and compared."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ptdit_jax.evaluation.interface import Direction
from ptdit_jax.sweep.columns import number, scaled, title

Row = dict[str, Any]
Metrics = Mapping[str, Direction]  # by name: which direction is better
SIGN = {"lower": 1, "higher": -1}


@dataclasses.dataclass(frozen=True)
class Variant:
    """Runs that differ in their seed alone.

    Attributes:
      number: by which figures name it, from 1.
      name: without the seed.
      rows: of the table, those that are done.
    """

    number: int
    name: str
    rows: Sequence[Row]

    def __getitem__(self, column: str) -> Any:
        """What all its runs have in common."""
        return self.rows[0][column]

    def values(self, column: str) -> list[float]:
        """Of every run, where it is known."""
        return [row[column] for row in self.rows if row.get(column) is not None]

    def mean(self, column: str) -> float:
        """Over the runs; nan without any."""
        values = self.values(column)
        return statistics.fmean(values) if values else math.nan


def overlap(a: Variant, b: Variant, metric: str) -> bool:
    """Whether the ranges of two variants' seeds share a value."""
    one, other = a.values(metric), b.values(metric)
    return min(one) <= max(other) and min(other) <= max(one)


def pareto(variants: Sequence[Variant], metric: str, direction: Direction) -> list[Variant]:
    """The variants than which no other is at most as costly and better, nor cheaper and as good; cheapest first."""
    sign = SIGN[direction]
    front: list[Variant] = []
    for variant in sorted(variants, key=lambda variant: (variant.mean("macs"), sign * variant.mean(metric))):
        if not front or sign * variant.mean(metric) < sign * front[-1].mean(metric):
            front.append(variant)
    return front


def ratio_lines(variants: Sequence[Variant], varied: Sequence[str]) -> list[list[Variant]]:
    """Variants that differ in their compression ratio alone, by ratio."""
    rest = [field for field in varied if not field.startswith("compression.")]
    groups: dict[tuple[Any, ...], list[Variant]] = {}
    for variant in variants:
        if variant["ratio"] is not None:
            groups.setdefault(tuple(variant[field] for field in rest), []).append(variant)
    lines = [sorted(group, key=lambda variant: variant["ratio"]) for group in groups.values()]
    return [line for line in lines if len({variant["ratio"] for variant in line}) > 1]


def spread(variant: Variant, column: str) -> str:
    """The mean, and the range where there are several different values."""
    values = [scaled(column, value) for value in variant.values(column)]
    if not values:
        return ""
    mean = number(statistics.fmean(values))
    return mean if len(set(values)) == 1 else f"{mean} ({number(min(values))} to {number(max(values))})"


def findings(variants: Sequence[Variant], metrics: Metrics) -> list[str]:
    """What the figures say, as sentences."""
    sentences = []
    for metric, direction in metrics.items():
        known = sorted(
            (variant for variant in variants if variant.values(metric)),
            key=lambda variant: variant.mean(metric) * SIGN[direction],
        )
        best, worst = known[0], known[-1]
        text = f"{title(metric)} ({direction} is better): best {best.name} with {spread(best, metric)}"
        if worst is not best:
            text += f", worst {worst.name} with {spread(worst, metric)}"
        if metric == "frechet_distance" and best.values("frechet_real"):
            text += f"; held-out real samples have {number(best.mean('frechet_real'))}"
        near = [variant.name for variant in known[1:] if overlap(best, variant, metric)]
        if max(len(variant.rows) for variant in known) > 1:
            text += f".  Not apart from the best: {', '.join(near) or 'none'}"
        front = ", ".join(variant.name for variant in pareto(known, metric, direction))
        sentences.append(f"{text}.  Nothing is as cheap and better than: {front}.")
    if metrics and all(len(variant.rows) == 1 for variant in variants):
        sentences.append(
            "Every variant was trained once: how much of a difference is chance is not known from this."
        )
    return sentences
