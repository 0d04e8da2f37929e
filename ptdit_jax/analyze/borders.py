"""How much more pictures change across the borders of windows than inside: the grid artefact of windows without shift.

The paper calls it the "grid" phenomenon (arXiv 2409.04005, Sec. 3.2.2, ablation on shifted windows).

Shapes: N pictures, C channels, F frames, H rows, W columns.
"""

from typing import NamedTuple

import numpy as np

Sides = tuple[int, int]
"""Rows and columns of a window, or of a token, in cells of the picture."""


class Lattice(NamedTuple):
    """Mean squared differences of neighbours across borders, over those of others; 1 = no lattice.

    Each is a mean over the two directions, nan where no direction has both kinds of neighbours.

    Attributes:
      vertical: neighbours in a column: across borders between rows of windows, over all others.
      horizontal: neighbours in a row, likewise.
      mean: of both.
      tokens: borders of windows over the other borders of tokens alone, which a lattice of patches raises too.
    """

    vertical: float
    horizontal: float
    mean: float
    tokens: float


def lattice(pictures: np.ndarray, window: Sides, token: Sides) -> Lattice:
    """Of pictures, all together.

    Args:
      pictures: (N, C, F, H, W).
      window: its rows and columns in cells.
      token: likewise; it divides the window.

    Raises:
      ValueError: no border of a window lies inside the pictures, all neighbours are across one, or nothing changes.
    """
    if not any(np.diff(pictures, axis=axis).any() for axis in (3, 4)):
        raise ValueError("the pictures are constant, and have no energy to compare")
    ratios, by_token = [], []
    for axis, period, step in zip((3, 4), window, token, strict=True):
        energy = _energy(pictures, axis)
        last = np.arange(1, len(energy) + 1)  # cells before the border that follows
        border, inner = last % period == 0, (last % step == 0) & (last % period != 0)
        ratios.append(_ratio(energy, border, ~border))
        by_token.append(_ratio(energy, border, inner))
    if np.isnan(ratios).all():
        raise ValueError(
            f"windows of {window[0]}x{window[1]} cells have no borders with neighbours inside in pictures of "
            f"{pictures.shape[3]}x{pictures.shape[4]}; --window must be smaller than the grid and larger than a cell"
        )
    return Lattice(ratios[0], ratios[1], _mean(ratios), _mean(by_token))


def folded_gradient(pictures: np.ndarray, window: Sides) -> np.ndarray:
    """The mean absolute difference of each cell from its next ones, below and to the right, folded onto one window.

    Args:
      pictures: (N, C, F, H, W).
      window: its rows and columns in cells, each at most the picture's.

    Returns:
      (rows, columns) float64; differences across borders are in the last row and the last column.
    """
    totals = np.zeros(window)
    for axis in (3, 4):
        steps = np.abs(np.diff(pictures.astype(np.float64), axis=axis)).mean(
            axis=(0, 1, 2)
        )  # (H, W), one shorter
        rows, columns = (np.arange(size) % period for size, period in zip(steps.shape, window, strict=True))
        total, count = np.zeros(window), np.zeros(window)
        np.add.at(total, np.ix_(rows, columns), steps)
        np.add.at(count, np.ix_(rows, columns), 1)
        totals += total / np.maximum(count, 1) / 2
    return totals


def _energy(pictures: np.ndarray, axis: int) -> np.ndarray:
    """The mean squared difference (S - 1,) float64 of neighbours along an axis of S, after each place on it."""
    squares = np.diff(pictures.astype(np.float64), axis=axis) ** 2
    return np.moveaxis(squares, axis, 0).reshape(squares.shape[axis], -1).mean(axis=1)


def _ratio(energy: np.ndarray, above: np.ndarray, below: np.ndarray) -> float:
    if not above.any() or not below.any():
        return float("nan")
    with np.errstate(divide="ignore"):  # inf: what changes at borders alone is all lattice
        return float(np.divide(energy[above].mean(), energy[below].mean()))


def _mean(ratios: list[float]) -> float:
    known = [ratio for ratio in ratios if not np.isnan(ratio)]
    return float(np.mean(known)) if known else float("nan")
