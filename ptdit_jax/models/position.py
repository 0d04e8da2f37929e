"""Fixed sine-cosine position tables (spec: patch embedding and 3-D position).

Shapes: (f, h, w) token grid, D width.
"""

import numpy as np

Tables = list[tuple[np.ndarray, np.ndarray]]
"""For each range of channels, rows (positions, features) and the row of every token, broadcastable to (f, h, w).

The network looks rows up on the device: the table of a video's 72x32x32 tokens would be a constant of 340 MB.
"""


def sincos(features: int, position: np.ndarray) -> np.ndarray:
    """[sin(p·ω), cos(p·ω)] with ω_j = 10000^(-j/(features/2)): positions (...) -> (..., features) float64."""
    frequency = 10000.0 ** (-np.arange(features // 2) / (features / 2))
    angle = np.asarray(position, np.float64)[..., None] * frequency
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=-1)


def positions_3d(grid: tuple[int, int, int], width: int, sample_size: int, kind: str = "grid") -> np.ndarray:
    """The PT-DiT table, channels [time D/4 | column 3D/8 | row 3D/8]: (f, h, w, D) float32.

    Args:
      grid: (f, h, w) tokens.
      width: D, a multiple of 16.
      sample_size: latent side the model was declared with; columns and rows are divided by max(side // 64, 1).
      kind: "grid" for right positions; "released" for the release's, whose column = k mod h and row = k div h of
        the flat index k = row·w + column scramble non-square grids (equal on squares), for bit-compatible
        sampling of released weights.
    """
    return whole_table(tables_3d(grid, width, sample_size, kind), grid)


def position_scale(sample_size: int) -> int:
    """What columns and rows are divided by, max(side // 64, 1) of the declared latent side: one range at all sizes."""
    return max(sample_size // 64, 1)


def tables_3d(grid: tuple[int, int, int], width: int, sample_size: int, kind: str = "grid") -> Tables:
    """The parts of `positions_3d`, which has its arguments."""
    f, h, w = grid
    scale = position_scale(sample_size)
    row, column = np.arange(h)[None, :, None], np.arange(w)[None, None, :]
    if kind == "released":
        row, column = np.divmod(row * w + column, h)
    positions = np.arange(max(h, w, -(-h * w // h))) / scale
    space = sincos(3 * width // 8, positions)
    return [(sincos(width // 4, np.arange(f)), np.arange(f)[:, None, None]), (space, column), (space, row)]


def positions_2d(grid: tuple[int, int, int], width: int, scale: float = 1, base: int = 0) -> np.ndarray:
    """DiT's table (arXiv 2212.09748), [column D/2 | row D/2], the same in every frame: (f, h, w, D) float32.

    Args:
      grid: (f, h, w) tokens.
      width: D.
      scale: columns and rows are divided by it, as PixArt-α's are at 1024 pixels (arXiv 2310.00426).
      base: side of the declared grid, to whose range the columns and rows of any grid are rescaled, as those of
        PixArt's multi-scale networks and of diffusers' DiT and PixArt are; 0 = they are counted.
    """
    return whole_table(tables_2d(grid, width, scale, base), grid)


def tables_2d(grid: tuple[int, int, int], width: int, scale: float = 1, base: int = 0) -> Tables:
    """The parts of `positions_2d`, which has its arguments."""
    _, h, w = grid
    columns, rows = (sincos(width // 2, np.arange(n) / (n / base if base else 1) / scale) for n in (w, h))
    return [(columns, np.arange(w)[None, None, :]), (rows, np.arange(h)[None, :, None])]


def whole_table(tables: Tables, grid: tuple[int, int, int]) -> np.ndarray:
    """Look every token's position up in each part: (f, h, w, D) float32."""
    parts = [np.broadcast_to(table[index], (*grid, table.shape[-1])) for table, index in tables]
    return np.concatenate(parts, axis=-1).astype(np.float32)
