"""Rows of small maps of numbers, such as attention on the grid of tokens."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

COLOURS_OF_MAPS = "magma"
Box = tuple[int, int, int, int]
"""Top row, left column, rows and columns of a part of a map."""


def heat_maps(
    rows: Sequence[Sequence[np.ndarray]],
    png_path: str | Path,
    *,
    row_names: Sequence[str],
    column_names: Sequence[str],
    shared: bool = False,
    gamma: float = 1.0,
    box: Box | None = None,
    note: str = "",
) -> None:
    """Draws maps in rows, with the scale of colours of each row, or of all, beside it.

    Args:
        rows: maps (h, w) of finite numbers from 0 up; rows may have different numbers of maps.
        png_path: the picture to write; the folder must exist.
        row_names: beside the rows.
        column_names: above the columns.
        shared: one scale for all rows.
        gamma: exponent of the scale; 0.5 shows small values beside large ones.
        box: part of every map with a frame around it.
        note: a line below.
    """
    columns = max(map(len, rows))
    figure = Figure(figsize=(1.6 + 1.25 * columns, 0.8 + 1.3 * len(rows)), dpi=120, layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    tops = [max(float(part.max()) for part in row) for row in rows]
    tops = [max(tops)] * len(rows) if shared else tops
    for i, (row, top) in enumerate(zip(rows, tops)):
        norm = PowerNorm(gamma, 0, top) if gamma != 1 else Normalize(0, top)
        for axes, part in zip(grid[i], row):
            shown = axes.imshow(part, cmap=COLOURS_OF_MAPS, norm=norm, interpolation="nearest")
            if box is not None:
                top_row, left, height, width = box
                corner = (left - 0.5, top_row - 0.5)
                axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor="#56b4e9", linewidth=1))
        for axes in grid[i][len(row) :]:
            axes.set_axis_off()
        for axes in grid[i]:
            axes.set(xticks=[], yticks=[])
        grid[i][0].set_ylabel(row_names[i], fontsize=8)
        figure.colorbar(shown, ax=list(grid[i]), fraction=0.03, pad=0.01).ax.tick_params(labelsize=6)
    for axes, name in zip(grid[0], column_names):
        axes.set_title(name, fontsize=7)
    if note:
        figure.supxlabel(textwrap.fill(note, max(24 * columns, 40)), fontsize=7, color="0.35")
    figure.savefig(png_path)
