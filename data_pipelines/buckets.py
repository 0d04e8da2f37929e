"""Shapes of batches: aspect ratios by whole windows of attention, so that no bucket needs padding.

A bucket is a grid of about 64 windows: 8x8, 7x9, 6x11, 5x13, 4x16 and their transposes, the same at every resolution,
whose window has another size in tokens (Sec. 3.2.3 of arXiv 2409.04005).

Shapes: H latent rows, W latent columns.
"""

import math
from collections.abc import Sequence

WIDEST = 4.0  # columns over rows, at most


def window_grids(windows: int = 64) -> list[tuple[int, int]]:
    """Returns the grids (rows, columns) of about `windows` windows, from the square one on, each before its transpose.

    Raises:
        ValueError: `windows` is less than 1.
    """
    if windows < 1:
        raise ValueError(f"windows = {windows}: must be at least 1")
    grids: list[tuple[int, int]] = []
    for rows in range(math.isqrt(windows), 0, -1):
        columns = round(windows / rows)
        if columns / rows <= WIDEST:
            grids += [(rows, columns), (columns, rows)]
    return list(dict.fromkeys(grids))


def bucket_shapes(
    windows: int = 64, window: tuple[int, int] = (2, 2), patch: int = 2
) -> list[tuple[int, int]]:
    """Returns the latent sizes (H, W) of `window_grids`.

    Args:
        windows: about how many of them a sample has.
        window: (p_h, p_w) tokens, see `compression` in `configs/common.py`.
        patch: latent pixels a token covers along either side.

    Raises:
        ValueError: a number is less than 1.
    """
    if min(*window, patch) < 1:
        raise ValueError(f"window = {window}, patch = {patch}: must be at least 1")
    (high, wide) = window
    return [(rows * high * patch, columns * wide * patch) for rows, columns in window_grids(windows)]


def nearest(shapes: Sequence[tuple[int, int]], height: int, width: int) -> tuple[int, int]:
    """Returns the shape (H, W) whose aspect ratio is nearest, in its logarithm, to that of `height` x `width`.

    Of equally near ones it is the first.

    Args:
        shapes: not empty.
        height: rows in any unit, of pixels or latents.
        width: columns in the same unit.

    Raises:
        ValueError: there are no shapes, or a side is less than 1.
    """
    if not shapes or min(height, width) < 1:
        raise ValueError(f"height, width = {height, width} and {len(shapes)} shapes: must be at least 1 each")
    aspect = math.log(height / width)
    return min(shapes, key=lambda shape: abs(math.log(shape[0] / shape[1]) - aspect))
