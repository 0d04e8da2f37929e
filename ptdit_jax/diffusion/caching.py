"""Which evaluations of a network reuse what an earlier one computed: schedules, made on the host before sampling.

A schedule is (evaluations,) bool, True where an evaluation reuses what the last False one kept.  The first is False.

MagCache (arXiv 2506.09045, Sec. 3) reuses the residual r of all blocks together, their output minus their input.  Of
neighbouring evaluations r has nearly the same direction, and the ratio of its magnitudes,

    gamma_i = mean over tokens of |r_i| / |r_{i-1}|,

hardly depends on what is drawn, so it is measured once.  After an evaluation j that was computed, the error of reusing
r_j in its place is taken to be |1 - gamma_{j+1} ... gamma_i| at evaluation i, and the errors of all evaluations skipped
since j are added up.  An evaluation is skipped while that sum is below a threshold and no more than so many were
skipped in a row; the first share of evaluations, in which the picture is decided, is always computed.
"""

import numpy as np


def every(evaluations: int, k: int) -> np.ndarray:
    """Compute every k-th evaluation, the first one too; k = 1 computes all."""
    return np.arange(evaluations) % k > 0


def magcache(ratios: np.ndarray, *, threshold: float, skips: int, first: float) -> np.ndarray:
    """MagCache's schedule; see above.

    Args:
      ratios: (evaluations,) gamma_i; that of evaluation 0 has no meaning.
      threshold: errors added up stay below it; 0 computes all.
      skips: evaluations skipped in a row, at most.
      first: share of the evaluations, rounded up, that is computed before any is skipped.
    """
    reuse = np.zeros(len(ratios), bool)
    product, error, row = 1.0, 0.0, 0
    for i in range(max(int(np.ceil(first * len(ratios))), 1), len(ratios)):
        product, row = product * ratios[i], row + 1
        error += abs(1 - product)
        reuse[i] = error < threshold and row <= skips
        if not reuse[i]:
            product, error, row = 1.0, 0.0, 0
    return reuse


def resampled(ratios: np.ndarray, evaluations: int) -> np.ndarray:
    """Ratios measured with another number of evaluations: for each the nearest, as MagCache's published code does."""
    nearest = np.rint(np.linspace(0, len(ratios) - 1, evaluations)).astype(int)
    return np.asarray(ratios)[nearest]
