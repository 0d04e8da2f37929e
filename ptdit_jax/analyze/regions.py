"""Which keys are near a window of tokens and which are far, and which windows are compared.

Near is what the texture module of a PT-DiT with this window (TCM, Eq. 2 of arXiv 2409.04005) reaches: the window and
half a window around it, where shifted windows lead.  Far is the rest, which proxies would stand for.

Shapes: N tokens of a grid (f, h, w), M windows of n tokens.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ptdit_jax.models.window import Triple, half_window, partition


@dataclasses.dataclass(frozen=True)
class Regions:
    """Windows of a grid, their near keys, and pairs of different windows.

    Attributes:
      grid: (f, h, w) tokens.
      window: (cf, ch, cw) tokens.
      tokens: (M, n) int32, the tokens of each window by their number in the grid, row by row.
      near: (M, N) bool, the keys near each window.
      pairs: (P, 2) int32, each window with another one, drawn among those that have a key far from both; a window that
        has no such other is in none.
    """

    grid: Triple
    window: Triple
    tokens: np.ndarray
    near: np.ndarray
    pairs: np.ndarray

    @property
    def middle(self) -> int:
        """The number of the window in the middle of the grid, which has keys on all sides."""
        f, h, w = (s // c // 2 for s, c in zip(self.grid, self.window, strict=True))
        _, rows, columns = (s // c for s, c in zip(self.grid, self.window, strict=True))
        return (f * rows + h) * columns + w


def regions(grid: Triple, window: Sequence[int], *, seed: int = 0) -> Regions:
    """The windows of a grid.

    Args:
      grid: (f, h, w) tokens.
      window: (cf, ch, cw) tokens.
      seed: of the pairs.

    Raises:
      ValueError: the window does not divide the grid, is one token, or leaves no two windows with far keys.
    """
    c = (int(window[0]), int(window[1]), int(window[2]))
    name = f"--window={','.join(map(str, c))}"
    if any(step < 1 or size % step for size, step in zip(grid, c, strict=True)):
        raise ValueError(f"{name} must divide the grid of {grid} tokens (frames, rows, columns)")
    if c == (1, 1, 1):
        raise ValueError(f"{name} is one token, which has no other to compare with; it must be larger")
    numbers = np.arange(np.prod(grid), dtype=np.int32).reshape(1, *grid, 1)
    tokens = partition(numbers, c)[0, ..., 0]  # (M, n)
    near = _near(grid, c)
    pairs = _pairs(~near, seed)
    if not len(pairs):
        raise ValueError(
            f"{name} leaves no key of the grid of {grid} tokens that is far from two windows; it must be smaller"
        )
    return Regions(grid, c, tokens, near, pairs)


def _near(grid: Triple, window: Triple) -> np.ndarray:
    """(M, N) bool: an axis at a time, a window covers c tokens and reaches c // 2 more on each side."""
    axes = []
    for size, c, reach in zip(grid, window, half_window(window), strict=True):
        start, key = np.arange(0, size, c)[:, None], np.arange(size)
        axes.append((key >= start - reach) & (key < start + c + reach))
    near = np.einsum("ax,by,cz->abcxyz", *axes)
    return near.reshape(-1, np.prod(grid))


def _pairs(far: np.ndarray, seed: int) -> np.ndarray:
    """(P, 2) int32 from far keys (M, N)."""
    shared = far.astype(np.float32) @ far.T.astype(np.float32) > 0  # (M, M)
    np.fill_diagonal(shared, False)
    rng = np.random.default_rng(seed)
    found = [
        (number, rng.choice(np.flatnonzero(others))) for number, others in enumerate(shared) if others.any()
    ]
    return np.array(found, np.int32).reshape(-1, 2)
