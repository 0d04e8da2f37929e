"""What an evaluation is, and one made of any network's features."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

import numpy as np

from ptdit_jax.evaluation.distribution import Comparison, compare
from ptdit_jax.metrics.manifold import NEIGHBOURS

Direction = Literal["lower", "higher"]


class Report(Protocol):
    """The result of an evaluation; `str(report)` is a paragraph for the screen."""

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name, for files and tables."""
        ...


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How the samples of a run are judged.

    Attributes:
      judge: a function of samples, see `takes`, and of the class (N,) int32 asked for of each, None where the data have
        no classes; with `source`, of its facts (N, k) int32 in their place; deterministic.
      better: which figures networks are ranked by, the most telling first, and which direction is better.
      check: what is wrong with a config whose samples it would judge, a message a problem.
      source: of `config.data`, the records whose captions are asked for in place of the data's own, a source with
        `facts(record)`, (k,) int32; None for the data's own.
      takes: "data": (N, C, F, H, W) float32 in the range of the data, latents where the data are; "pictures": what is
        seen of them, (N, F, H, W, 3) uint8.
      prepare: called with (F, H, W) of the pictures before a run trains that is judged as it does: reads what the judge
        needs, and raises ValueError or OSError where that is not what it must be.
      wants: "captions": the judge takes those (N,) in place of classes.
    """

    judge: Callable[[np.ndarray, np.ndarray | None], Report]
    better: Mapping[str, Direction]
    check: Callable[[Any], Iterable[str]] = lambda config: ()
    source: Callable[[Any], Any] | None = None
    takes: Literal["data", "pictures"] = "data"
    wants: Literal["labels", "captions"] = "labels"
    prepare: Callable[[tuple[int, int, int]], None] = lambda size: None


COMPARED: Mapping[str, Direction] = {
    "frechet_distance": "lower",
    "precision": "higher",
    "recall": "higher",
}
"""The figures of `distribution.Comparison`."""


@dataclasses.dataclass(frozen=True)
class FeatureReport:
    """What `by_features` found."""

    count: int
    """Samples judged."""

    comparison: Comparison
    """With the real ones."""

    def metrics(self) -> dict[str, float]:
        """Returns the figures by name."""
        return dataclasses.asdict(self.comparison)

    def __str__(self) -> str:
        """Returns the figures as a sentence."""
        far = self.comparison
        return (
            f"{self.count} samples: Fréchet distance from the real ones {far.frechet_distance:.2f}, precision "
            f"{far.precision:.1%}, recall {far.recall:.1%}."
        )


def by_features(extract: Callable[[np.ndarray], np.ndarray], real: Callable[[], np.ndarray]) -> Evaluation:
    """An evaluation in the feature space of any network, such as Inception's pooled features.

    Args:
      extract: features (N, D) of samples (N, C, F, H, W), which are latents where the data are: it decodes them.
      real: gives the features (R, D) of real data; called when there are samples to judge.
    """

    def judge(samples: np.ndarray, labels: np.ndarray | None) -> FeatureReport:
        del labels
        return FeatureReport(len(samples), compare(real(), extract(samples)))

    def check(config: Any) -> Iterable[str]:
        if config.evaluation.count <= NEIGHBOURS:
            yield f"evaluation.count={config.evaluation.count} must be above {NEIGHBOURS}"

    return Evaluation(judge, COMPARED, check)
