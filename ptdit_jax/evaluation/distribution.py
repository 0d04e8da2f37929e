"""Two sets of samples compared in a space of features: Fréchet distance, precision and recall.

What the features are is the caller's: decision values of a digits classifier here, Inception's pooled features for
photographs.  Shapes: N samples, R real ones, D features.
"""

import dataclasses

import numpy as np
from scipy.spatial.distance import cdist

NEIGHBOURS = 3  # k of arXiv 1904.06991


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
      real: features (R, D), R above `NEIGHBOURS`.
      generated: features (N, D), N above `NEIGHBOURS`.

    Raises:
      ValueError: the shapes are not as above, or a feature is not finite.
    """
    for name, features in (("real", real), ("generated", generated)):
        if features.ndim != 2 or len(features) <= NEIGHBOURS or features.shape[1] != real.shape[1]:
            raise ValueError(
                f"{name} features {features.shape}: must be (samples, features), more than {NEIGHBOURS} samples, "
                f"as many features as the real ones {real.shape}"
            )
        if not np.isfinite(features).all():
            raise ValueError(f"{name} features: {(~np.isfinite(features)).sum()} are not finite")
    return Comparison(frechet_distance(real, generated), *precision_recall(real, generated))


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """|μ - ν|² + tr(C + S - 2 (C S)^½) of means μ, ν and covariances C, S (arXiv 1706.08500, Sec. 2).

    The estimate falls with the number of samples, so only figures of equal numbers compare.

    Args:
      real: (R, D).
      generated: (N, D).
    """
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    shift = real.mean(axis=0) - generated.mean(axis=0)
    covariance, other = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (real, generated))
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    # (C S)^½ has the trace of (C^½ S C^½)^½, whose eigenvalues are real whatever rounding does.
    overlap = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(min=0)).sum()
    return float(shift @ shift + np.trace(covariance) + np.trace(other) - 2 * overlap)


def precision_recall(real: np.ndarray, generated: np.ndarray) -> tuple[float, float]:
    """Improved precision and recall (arXiv 1904.06991, Eq. 1 and 2).

    A sample lies where a set does when it is no farther from some member than that member's third nearest other one.

    Args:
      real: (R, D).
      generated: (N, D).
    """
    between = cdist(generated, real)  # (N, R)
    precision = (between <= _radii(real)).any(axis=1).mean()
    recall = (between <= _radii(generated)[:, None]).any(axis=0).mean()
    return float(precision), float(recall)


def _radii(features: np.ndarray) -> np.ndarray:
    """Distance of each sample to the k-th nearest other one (its own distance, 0, comes first)."""
    return np.partition(cdist(features, features), NEIGHBOURS, axis=1)[:, NEIGHBOURS]
