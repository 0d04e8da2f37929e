"""The judge "inception": what the field reports of pictures, as a row of the table of judges.

Its fields are `evaluation.inception`, the weights; `evaluation.reference`, ADM's file or a folder of pictures; and
`evaluation.metrics`, some of `figures.NEEDS`, the first of which networks are ranked by.
"""

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ptdit_jax.evaluation import figures, pictures
from ptdit_jax.evaluation.interface import Evaluation
from ptdit_jax.evaluation.statistics import Inception, Statistics
from ptdit_jax.metrics.manifold import NEIGHBOURS
from ptdit_jax.parallel.mesh import make_mesh


@dataclasses.dataclass(frozen=True)
class InceptionReport:
    """The figures of some pictures.

    Attributes:
      count: N.
      values: by name.
    """

    count: int
    values: dict[str, float]

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name."""
        return self.values

    def __str__(self) -> str:
        """Returns the figures as a sentence."""
        named = ", ".join(f"{name} {value:.5g}" for name, value in self.values.items())
        note = figures.few(self.count, list(self.values))
        return f"{self.count} samples: {named}." + (f"  Note: {note}." if note else "")


class Judge:
    """Reads the weights when there are samples, and the reference once."""

    def __init__(self, section: Any):
        """Take the `evaluation` section of a config."""
        self._section = section

    @functools.cached_property
    def _network(self) -> Inception:
        mesh = make_mesh({"data": -1}, jax.local_devices())
        return Inception(Path(self._section.inception).expanduser(), mesh)

    @functools.lru_cache(maxsize=1)  # noqa: B019 - of one run, as long as it
    def _reference(self, size: tuple[int, int]) -> Statistics:
        path, names = Path(self._section.reference).expanduser(), self._section.metrics
        return figures.reference_of(
            path, self._network, names, flag="evaluation.reference", size=size, bar=None
        )

    def __call__(self, samples: np.ndarray, labels: np.ndarray | None) -> InceptionReport:
        """Judge pictures (N, 1, H, W, 3) uint8."""
        del labels
        names = self._section.metrics
        found = pictures.of_array(samples[:, 0], "the samples")
        seen = self._network.of(found, figures.needs(names), name=None)
        reference = self._reference(found.size) if set(names) != {"is"} else None
        values = figures.figures(names, seen, reference)
        return InceptionReport(len(samples), {name: float(values[name]) for name in names})


def evaluation(section: Any) -> Evaluation:
    """The judge by the fields of an `evaluation` section.

    Raises:
      ValueError: a figure is unknown.
    """
    names = section.metrics
    if unknown := [name for name in names if name not in figures.NEEDS]:
        raise ValueError(
            f"evaluation.metrics: {unknown[0]!r} is unknown; it is of {', '.join(figures.NEEDS)}"
        )
    if not names:
        raise ValueError(f"evaluation.metrics=() must name some of {', '.join(figures.NEEDS)}")
    better = {name: figures.BETTER[name] for name in names}
    return Evaluation(Judge(section), better, _check, takes="pictures")


def _check(config: Any) -> Iterable[str]:
    section, data = config.evaluation, config.data
    if not Path(section.inception).expanduser().is_file():
        yield (
            f"evaluation.inception={section.inception!r} must be the file of Inception's weights that "
            "evaluation.name='inception' needs (docs/evaluation.md)"
        )
    if set(section.metrics) != {"is"} and not Path(section.reference).expanduser().exists():
        yield (
            f"evaluation.reference={section.reference!r} must be a file of statistics or images, or a folder of "
            f"pictures: {', '.join(section.metrics)} compare with it"
        )
    if data.frames > 1:
        yield f"evaluation.name='inception' judges pictures, and data.frames={data.frames} are films"
    if config.model.channels == 1 and data.pixels_per_latent == 1:
        yield "evaluation.name='inception' judges RGB, and model.channels=1 is grey"
    if section.count <= NEIGHBOURS:
        yield f"evaluation.count={section.count} must be above {NEIGHBOURS}"
