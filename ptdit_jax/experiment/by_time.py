"""A compression ratio that depends on time (`compression.by_time`): one network, a layout for each of its ratios.

A batch of training has one ratio, drawn as often as training times lie in its spans, and times of those spans alone: so
times are distributed as without, and a step is compiled for each ratio.  A sampler's evaluation at t has that of t.

Shapes: K ratios, C channels, F frames, H height, W width.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from ptdit_jax.experiment.build import Experiment

Shape = tuple[int, ...]
Key = tuple[Shape, int]
"""The shape (C, F, H, W) of a batch's samples, and the number of its ratio."""

DRAW = 0x7261746E  # sets the draws of ratios apart from all others of the same seed and step


def masses(experiment: Experiment) -> np.ndarray:
    """The probability of each ratio of an experiment (K,) float64, which add up to 1."""
    share = np.array([part.objective.mass for part in experiment.parts or (experiment,)])
    return share / share.sum()


def split(experiments: Mapping[Shape, Experiment]) -> dict[Key, Experiment]:
    """The experiments of every ratio, each with the objective at its times alone."""
    return {
        (shape, number): part
        for shape, experiment in experiments.items()
        for number, part in enumerate(experiment.parts or (experiment,))
    }


def key_of_batch(experiment: Experiment, seed: int, step: int) -> Key:
    """Which of the keys of `split` a training step takes: a function of the seed, the step and the shape alone.

    Args:
      experiment: of the shape of the step's batch.
      seed: of the run.
      step: its number.
    """
    if not experiment.parts:
        return experiment.shape, 0
    drawn = np.random.default_rng((DRAW, seed, step)).random()
    ends = np.cumsum(masses(experiment))[:-1]
    return experiment.shape, int(np.searchsorted(ends, drawn, "right"))


def lines(experiment: Experiment) -> Iterator[str]:
    """What a run tells of its ratios: their times, windows, and shares of the batches; none of a single one."""
    if not experiment.parts:
        return
    yield f"{len(experiment.parts)} compression ratios by time, each with a compiled step (t = 1 is noise):"
    for part, share in zip(experiment.parts, masses(experiment), strict=True):
        times = " and ".join(f"{low:g} to {high:g}" for low, high in part.objective.spans)
        yield f"  t from {times}: window {part.layout.window}, {share:.1%} of the batches"
