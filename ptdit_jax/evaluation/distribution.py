"""Two sets of samples compared in a space of features: Fréchet distance, precision and recall.

What the features are is the caller's: decision values of a digits classifier here, Inception's pooled features for
photographs.  Shapes: N samples, R real ones, D features.
"""

import dataclasses

import numpy as np

from ptdit_jax import metrics


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How far generated samples are from real ones.

    Attributes:
      frechet_distance: see `frechet_distance`; 0 for equal means and covariances.
      precision: share of the generated samples that lie where real ones do, in [0, 1].
      recall: share of the real samples that lie where generated ones do, in [0, 1].
    """

    frechet_distance: float
    precision: float
    recall: float


def compare(real: np.ndarray, generated: np.ndarray) -> Comparison:
    """All three figures.

    Args:
      real: features (R, D), R above `metrics.manifold.NEIGHBOURS`.
      generated: features (N, D), N above `metrics.manifold.NEIGHBOURS`.

    Raises:
      ValueError: the shapes are not as above, or a feature is not finite.
    """
    near = metrics.precision_recall(real, generated)  # whose checks are those of both
    return Comparison(frechet_distance(real, generated), *near)


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """`metrics.frechet_distance` of the normal distributions of two sets.

    The estimate falls with the number of samples, so only figures of equal numbers compare.

    Args:
      real: (R, D).
      generated: (N, D).
    """
    return metrics.frechet_distance(*(metrics.Moments.of(each).gaussian() for each in (real, generated)))
