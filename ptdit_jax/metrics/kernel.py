"""Kernel Inception distance (arXiv 1801.01401): the unbiased MMD² of a cubic kernel, over subsets.

Shapes: R real samples, N generated ones, S samples of a subset, D features.
"""

from typing import NamedTuple

import numpy as np


class KernelDistance(NamedTuple):
    """Of the subsets.

    Attributes:
      value: the mean.
      error: the standard error of that mean.
      deviation: the standard deviation between subsets, which most publish as ±.
    """

    value: float
    error: float
    deviation: float


def kernel_distance(
    real: np.ndarray, generated: np.ndarray, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> KernelDistance:
    """MMD² with k(x, y) = (x·y / D + 1)³ of random subsets of both sets.

    Args:
      real: (R, D), R at least `size`.
      generated: (N, D), N at least `size`.
      subsets: how many pairs of subsets.
      size: S.
      seed: of the choice; numpy's PCG64.

    Raises:
      ValueError: the shapes are not as above.
    """
    for name, features in (("real", real), ("generated", generated)):
        if features.ndim != 2 or features.shape[1] != real.shape[1]:
            raise ValueError(
                f"{name} features {features.shape}: must be (samples, {real.shape[-1]} features)"
            )
        if not 2 <= size <= len(features):
            raise ValueError(f"size={size} must be in [2, {len(features)}], the {name} samples")
    if subsets < 1:
        raise ValueError(f"subsets={subsets} must be at least 1")
    rng = np.random.default_rng(seed)
    found = np.empty(subsets)
    for number in range(subsets):
        chosen = [rng.choice(len(each), size, replace=False) for each in (real, generated)]
        found[number] = squared_mmd(real[chosen[0]], generated[chosen[1]])
    deviation = float(found.std())
    return KernelDistance(float(found.mean()), deviation / subsets**0.5, deviation)


def squared_mmd(one: np.ndarray, other: np.ndarray) -> float:
    """The unbiased estimate of MMD² of two sets (S, D) of as many samples (arXiv 1801.01401, Eq. 4)."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    size = len(one)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def apart(x: np.ndarray) -> float:
        """The mean over pairs of different samples."""
        table = kernel(x, x)
        return (table.sum() - np.trace(table)) / (size * (size - 1))

    return float(apart(one) + apart(other) - 2 * kernel(one, other).mean())
