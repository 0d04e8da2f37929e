"""Means and covariances of features that come a batch at a time, and the Fréchet distance of two of them.

Shapes: N samples, D features.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from scipy import linalg


class Gaussian(NamedTuple):
    """A normal distribution.

    Attributes:
      mean: (D,) float64.
      covariance: (D, D) float64.
    """

    mean: np.ndarray
    covariance: np.ndarray


@dataclasses.dataclass(frozen=True)
class Moments:
    """What is known of all features seen so far, in memory that their number does not change.

    Batches, and the parts of several devices or processes, are joined by Chan, Golub and LeVeque's update, which does
    not lose digits where the mean is far from 0; in whatever order, the result is that of all at once to rounding.

    Attributes:
      count: N.
      mean: (D,) float64.
      scatter: (D, D) float64, the sum of the products of what deviates from the mean.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def none(cls, features: int) -> "Moments":
        """Of no samples with `features` features."""
        return cls(0, np.zeros(features), np.zeros((features, features)))

    @classmethod
    def of(cls, features: np.ndarray) -> "Moments":
        """Of features (N, D), at least one sample.

        Raises:
          ValueError: they have another shape, or one is not finite.
        """
        if features.ndim != 2 or not len(features):
            raise ValueError(f"features {features.shape}: must be (samples, features), at least one sample")
        if not np.isfinite(features).all():
            raise ValueError(f"features: {(~np.isfinite(features)).sum()} of {features.size} are not finite")
        exact = features.astype(np.float64)
        mean = exact.mean(axis=0)
        return cls(len(exact), mean, (exact - mean).T @ (exact - mean))

    def __add__(self, other: "Moments") -> "Moments":
        """Of the samples of both.

        Raises:
          ValueError: they have another number of features.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"{len(self.mean)} and {len(other.mean)} features: must be as many")
        count = self.count + other.count
        if not count:
            return self
        far = other.mean - self.mean
        mean = self.mean + far * (other.count / count)
        between = np.outer(far, far) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    def gaussian(self, *, biased: bool = False) -> Gaussian:
        """Mean and covariance.

        Args:
          biased: divide by N, as StyleGAN-V does, and not by N - 1, as ADM and numpy.

        Raises:
          ValueError: there are too few samples for a covariance.
        """
        divisor = self.count if biased else self.count - 1
        if divisor < 1:
            raise ValueError(f"{self.count} samples have no covariance; there must be 2 or more")
        return Gaussian(self.mean, self.scatter / divisor)


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """|μ - ν|² + tr(C + S - 2 (C S)^½) of means μ, ν and covariances C, S (arXiv 1706.08500, Sec. 2).

    The trace of the root is the sum of the singular values of C^½ S^½, whose digits survive where a covariance is
    singular, as any is of fewer samples than features; nothing is added to a diagonal.

    Raises:
      ValueError: the shapes do not fit, or a number is not finite.
    """
    size = len(one.mean)
    for name, each in (("first", one), ("second", other)):
        if each.mean.shape != (size,) or each.covariance.shape != (size, size):
            raise ValueError(
                f"the {name} distribution: mean {each.mean.shape} and covariance {each.covariance.shape} must be of "
                f"{size} features"
            )
        if not (np.isfinite(each.mean).all() and np.isfinite(each.covariance).all()):
            raise ValueError(f"the {name} distribution has numbers that are not finite")
    far = one.mean - other.mean
    overlap = linalg.svdvals(_factor(one.covariance).T @ _factor(other.covariance)).sum()
    spread = np.trace(one.covariance) + np.trace(other.covariance)
    return float(max(far @ far + spread - 2 * overlap, 0.0))


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F (D, D) with F Fᵀ the covariance; eigenvalues that are nothing but its rounding count as 0."""
    values, vectors = linalg.eigh(covariance)
    rounding = np.finfo(np.float64).eps * len(values) * values[-1:].clip(min=0)
    return vectors * np.sqrt(np.where(values > rounding, values, 0.0))
