"""Improved precision and recall (arXiv 1904.06991), by tiles: the matrix of all distances is never there.

Shapes: R real samples, N generated ones, D features, r rows and c columns of a tile.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

NEIGHBOURS = 3  # k of arXiv 1904.06991
TILE = 2048  # samples along a side of a tile


class PrecisionRecall(NamedTuple):
    """Both in [0, 1].

    Attributes:
      precision: share of the generated samples that lie where real ones do (Eq. 1).
      recall: share of the real samples that lie where generated ones do (Eq. 2).
    """

    precision: float
    recall: float


def in_float64(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Squared distances (r, c) float64 of samples (r, D) and (c, D)."""
    rows, columns = rows.astype(np.float64), columns.astype(np.float64)
    return _expanded(rows, columns, np.float64)


def as_adm(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The same as ADM's evaluator has them: every term a float16, and float32 where one of the tile is not finite.

    Products are summed in float32 and rounded then, as GPUs do; that alone moves a share by up to 0.002.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        half = _expanded(rows.astype(np.float16), columns.astype(np.float16), np.float16)
    if np.isfinite(half).all():
        return half.astype(np.float32)
    return _expanded(rows.astype(np.float32), columns.astype(np.float32), np.float32)


def _expanded(rows: np.ndarray, columns: np.ndarray, dtype: type) -> np.ndarray:
    """|a|² - 2 a·b + |b|², at least 0, each term rounded to a dtype."""
    wide = np.float64 if dtype == np.float64 else np.float32
    rows, columns = rows.astype(wide), columns.astype(wide)
    squares = [(each * each).astype(dtype).astype(wide).sum(axis=1).astype(dtype) for each in (rows, columns)]
    products = (rows @ columns.T).astype(dtype)
    far = squares[0][:, None] - dtype(2) * products + squares[1][None]
    return np.maximum(far, dtype(0))


Distances = Callable[[np.ndarray, np.ndarray], np.ndarray]
Watch = Callable[[list[tuple[str, slice]]], Iterable[tuple[str, slice]]]
"""Yields what it is given: rows of the three matrices of distances, one after the other, for who shows progress."""


def precision_recall(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    neighbours: int = NEIGHBOURS,
    distances: Distances = in_float64,
    tile: int = TILE,
    watch: Watch = iter,
) -> PrecisionRecall:
    """Both shares.

    A sample lies where a set does when it is no farther from some member than that member's k-th nearest other one.

    Args:
      real: (R, D), R above k.
      generated: (N, D), N above k.
      neighbours: k.
      distances: `in_float64`, or `as_adm` for the figures of its evaluator.
      tile: samples along a side of a tile.
      watch: see `Watch`.

    Raises:
      ValueError: the shapes are not as above, or a feature is not finite.
    """
    for name, features in (("real", real), ("generated", generated)):
        if features.ndim != 2 or len(features) <= neighbours or features.shape[1] != real.shape[1]:
            raise ValueError(
                f"{name} features {features.shape}: must be (samples, features), more than {neighbours} samples, "
                f"as many features as the real ones {real.shape}"
            )
        if not np.isfinite(features).all():
            raise ValueError(f"{name} features: {(~np.isfinite(features)).sum()} are not finite")
    sets = {"real": real, "generated": generated}
    near = {name: np.empty(len(features)) for name, features in sets.items()}
    inside, covered = np.zeros(len(generated), bool), np.zeros(len(real), bool)
    work = [(name, rows) for name, features in sets.items() for rows in _tiles(len(features), tile)]
    for name, rows in watch([*work, *(("both", rows) for rows in _tiles(len(real), tile))]):
        if name in sets:
            near[name][rows] = _radii(sets[name], rows, neighbours, distances, tile)
            continue
        for columns in _tiles(len(generated), tile):
            far = distances(real[rows], generated[columns])
            inside[columns] |= (far <= near["real"][rows, None]).any(axis=0)
            covered[rows] |= (far <= near["generated"][None, columns]).any(axis=1)
    return PrecisionRecall(float(inside.mean()), float(covered.mean()))


def _radii(features: np.ndarray, rows: slice, neighbours: int, distances: Distances, tile: int) -> np.ndarray:
    """Squared distance of each sample of some rows to its k-th nearest other one; its own, 0, comes first."""
    nearest = np.empty((rows.stop - rows.start, 0))
    for columns in _tiles(len(features), tile):
        nearest = np.concatenate([nearest, distances(features[rows], features[columns])], axis=1)
        if nearest.shape[1] > neighbours + 1:
            nearest = np.partition(nearest, neighbours, axis=1)[:, : neighbours + 1]
    return nearest.max(axis=1)


def _tiles(count: int, tile: int) -> list[slice]:
    return [slice(first, min(first + tile, count)) for first in range(0, count, tile)]
