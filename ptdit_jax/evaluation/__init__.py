"""What the samples of a run are judged by: `evaluation.name` of the config picks a row of `EVALUATIONS`."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from ptdit_jax.evaluation.digits import judge_digits


class Report(Protocol):
    """The result of an evaluation; `str(report)` is a paragraph for the screen."""

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name, for TensorBoard and files."""
        ...


EVALUATIONS: dict[str, Callable[[np.ndarray, np.ndarray], Report] | None] = {
    "none": None,
    "digits": judge_digits,
}
"""By name: a function of samples (N, C, F, H, W) and the labels (N,) asked for, or None for no judgement."""

BETTER: dict[str, str] = {
    "frechet_distance": "lower",
    "recognition": "higher",
    "precision": "higher",
    "recall": "higher",
}
"""Figures by which networks are ranked, the most telling first, and which direction is better."""
