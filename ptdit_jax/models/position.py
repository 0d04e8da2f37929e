"""Fixed sine-cosine position tables (spec: patch embedding and 3-D position).

Shapes: (f, h, w) token grid, D width.
"""

import numpy as np

POSITIONS = ("grid", "released")


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
    f, h, w = grid
    scale = max(sample_size // 64, 1)
    flat = np.arange(h * w).reshape(h, w)
    row, column = np.divmod(flat, w) if kind == "grid" else np.divmod(flat, h)
    time = np.broadcast_to(sincos(width // 4, np.arange(f))[:, None, None], (f, h, w, width // 4))
    column_part = np.broadcast_to(sincos(3 * width // 8, column / scale), (f, h, w, 3 * width // 8))
    row_part = np.broadcast_to(sincos(3 * width // 8, row / scale), (f, h, w, 3 * width // 8))
    return np.concatenate([time, column_part, row_part], axis=-1).astype(np.float32)


def positions_2d(grid: tuple[int, int, int], width: int) -> np.ndarray:
    """DiT's table (arXiv 2212.09748), [column D/2 | row D/2], the same in every frame: (f, h, w, D) float32."""
    f, h, w = grid
    column = np.broadcast_to(sincos(width // 2, np.arange(w))[None, None, :], (f, h, w, width // 2))
    row = np.broadcast_to(sincos(width // 2, np.arange(h))[None, :, None], (f, h, w, width // 2))
    return np.concatenate([column, row], axis=-1).astype(np.float32)
