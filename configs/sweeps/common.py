"""What the sweeps share."""

from collections.abc import Iterable, Iterator
from typing import Any

Point = tuple[str, dict[str, Any]]
"""The name of a run, and what it says otherwise than the base."""

BASELINES: dict[str, dict[str, Any]] = {"dit": {}, "dam": {"model.mediators": (1, 2, 2)}}
"""Class-conditional families that PT-DiT is compared with (docs/baselines.md), and what each needs on digits."""

DIGITS: dict[str, Any] = {
    "model.width": 64,
    "train.steps": 2500,
    "train.ema_decays": (0.99,),  # the 0.999 of `c2i_digits` would still hold much of the first parameters
    "sampling.ema": 0.99,
    "checkpoint.every": 500,
    "checkpoint.keep": 1,
    "sampling.steps": 12,
    "sampling.count": 50,
}
"""Runs on digits short enough to make many of them: narrower than `c2i_digits`, and sampled in half as many steps."""


def over_seeds(points: Iterable[Point], seeds: Iterable[int] = (0, 1, 2)) -> Iterator[Point]:
    """Every point once a seed of its training; the noise of their samples is the same (`sampling.seed`)."""
    seeds = tuple(seeds)
    for name, fields in points:
        for seed in seeds:
            yield f"{name}-seed{seed}", {**fields, "seed": seed}


def ratio(side: int) -> dict[str, Any]:
    """Windows of side x side tokens."""
    return {"compression.fixed": (1, side, side)}
