"""The Inception score (arXiv 1606.03498, Sec. 4): how sure and how varied a classifier is of samples.

Shapes: n samples of a batch, K classes.
"""

import numpy as np
from scipy.special import xlogy

SPLIT = 5000  # samples of a split, in the order of the file: ADM's evaluator


def softmax(logits: np.ndarray) -> np.ndarray:
    """Class probabilities (n, K) float64 of logits (n, K)."""
    exact = logits.astype(np.float64)
    grown = np.exp(exact - exact.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


class InceptionScore:
    """exp E KL(p(y|x) | p(y)) of each split, gathered a batch at a time; memory does not grow with the batches."""

    def __init__(self, split: int = SPLIT):
        """Nothing seen yet.

        Args:
          split: samples of a split; the last one may have fewer.

        Raises:
          ValueError: it is not at least 1.
        """
        if split < 1:
            raise ValueError(f"split={split} must be at least 1")
        self._split = split
        self._done: list[float] = []
        self._count, self._sums, self._negentropy = 0, np.zeros(0), 0.0

    def add(self, probabilities: np.ndarray) -> None:
        """See the class probabilities (n, K) of more samples, each row a distribution.

        Raises:
          ValueError: they are none.
        """
        rows = probabilities.astype(np.float64)
        if rows.ndim != 2 or not np.isfinite(rows).all() or (np.abs(rows.sum(axis=1) - 1) > 1e-3).any():
            raise ValueError(
                f"probabilities {rows.shape}: must be (samples, classes), each row a distribution"
            )
        while len(rows):
            taken, rows = np.split(rows, [min(self._split - self._count, len(rows))])
            self._sums = self._sums + taken.sum(axis=0) if self._count else taken.sum(axis=0)
            self._negentropy = float(xlogy(taken, taken).sum()) + (self._negentropy if self._count else 0.0)
            self._count += len(taken)
            if self._count == self._split:
                self._close()

    def _close(self) -> None:
        self._done.append(self._score())
        self._count = 0

    def _score(self) -> float:
        """Of the split that is open: the mean over samples of Σ p log p, less Σ q log q of their mean q."""
        mean = self._sums / self._count
        return float(np.exp(self._negentropy / self._count - xlogy(mean, mean).sum()))

    def scores(self) -> np.ndarray:
        """The score of each split.

        Raises:
          ValueError: nothing was seen.
        """
        found = [*self._done, *([self._score()] if self._count else [])]
        if not found:
            raise ValueError("there are no samples")
        return np.array(found)

    def value(self) -> tuple[float, float]:
        """The mean over splits and their standard deviation."""
        scores = self.scores()
        return float(scores.mean()), float(scores.std())
