"""Curves: the loss of a run, and panels of lines beside each other."""

import csv
import dataclasses
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

# Okabe and Ito's colours, which also those who see fewer colours tell apart (jfly.uni-koeln.de/color), grey for their
# black; and dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
DASHES = ("-", "--", "-.", (0, (8, 1.5, 1.5, 1.5, 1.5, 1.5)))
Curve = tuple[Sequence[float], Sequence[float]]  # x and y of points


def loss_curve(csv_path: str | Path, png_path: str | Path, *, column: str = "loss") -> None:
    """Draws a column of `metrics.csv` over `step`, every row and a running mean, on a logarithmic scale.

    The scale is linear if a value is not positive.

    Args:
        csv_path: a file with a header, `step` and `column` among its columns. Rows without a finite value are
            left out.
        png_path: the picture to write.
        column: which column to draw.

    Raises:
        ValueError: the file lacks a column, or has no finite value.
    """
    with Path(csv_path).open(newline="") as file:
        reader = csv.DictReader(file)
        missing = {"step", column} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{csv_path}: has no column {', '.join(sorted(missing))}")
        rows = np.array([(float(row["step"]), float(row[column])) for row in reader if row[column]])
    rows = rows.reshape(-1, 2)
    rows = rows[np.isfinite(rows[:, 1])]
    if not len(rows):
        raise ValueError(f"{csv_path}: has no finite value of {column}")
    steps, values = rows.T
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, values, color="0.75", linewidth=0.8, label="each step")
    half = len(values) // 100
    axes.plot(steps, running_mean(values, half), color="C0", label=f"mean of {2 * half + 1} steps")
    if values.min() > 0:
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=column)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with matplotlib.rc_context({"agg.path.chunksize": 10_000}):  # long lines overflow the renderer otherwise
        figure.savefig(png_path)


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes of `panels`.

    Attributes:
      title: above it.
      xlabel: with the unit, as `ylabel`.
      ylabel: beside it.
      lines: by name.
      thin: dotted lines in the colour of the line of the same name.
      markers: hollow ones, likewise.
      log_y: whether the vertical axis is logarithmic; a linear one starts at 0.
      stacked: fill between the lines, each upon the ones before it; they have the same x.
    """

    title: str
    xlabel: str
    ylabel: str
    lines: Mapping[str, Curve]
    thin: Mapping[str, Curve] = dataclasses.field(default_factory=dict)
    markers: Mapping[str, Curve] = dataclasses.field(default_factory=dict)
    log_y: bool = True
    stacked: bool = False


def panels(
    parts: Sequence[Panel],
    png_path: str | Path,
    *,
    thin: str = "",
    markers: str = "",
    log_x: bool = True,
    note: str = "",
) -> None:
    """Draws panels side by side, each with its legend below it.

    Args:
      parts: the panels, from left to right.
      png_path: the picture to write; the folder must exist.
      thin: what the dotted lines are, for the legends.
      markers: what the hollow markers are.
      log_x: whether the horizontal axes are logarithmic.
      note: a line below.
    """
    figure = Figure(figsize=(5.2 * len(parts), 5.4), dpi=120, layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(parts), squeeze=False)[0], parts):
        colours = dict(zip(panel.lines, itertools.cycle(COLOURS)))
        if panel.stacked:
            x = next(iter(panel.lines.values()))[0]
            axes.stackplot(x, *(y for _, y in panel.lines.values()), labels=list(panel.lines), colors=COLOURS)
        for (name, (x, y)), dash in zip(panel.lines.items(), itertools.cycle(DASHES)):
            if not panel.stacked:
                axes.plot(x, y, label=name, color=colours[name], linestyle=dash, linewidth=1.8)
        for name, (x, y) in panel.thin.items():
            axes.plot(x, y, color=colours[name], linestyle=":", linewidth=1.1)
        for name, (x, y) in panel.markers.items():
            axes.scatter(x, y, s=70, facecolors="none", edgecolors=colours[name], linewidths=1.6, zorder=3)
        if panel.thin:
            axes.plot([], [], color="0.4", linestyle=":", linewidth=1.1, label=thin)
        if panel.markers:
            axes.scatter([], [], s=70, facecolors="none", edgecolors="0.4", linewidths=1.6, label=markers)
        if log_x:
            axes.set_xscale("log", base=2)
            axes.minorticks_off()
        ticks = sorted({x for xs, _ in panel.lines.values() for x in xs})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        if panel.log_y:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.7g}"))
        axes.set(title=panel.title, xlabel=panel.xlabel, ylabel=panel.ylabel)
        axes.grid(alpha=0.3, which="major")
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    if note:
        figure.supxlabel(textwrap.fill(note, 72 * len(parts)), fontsize=8, color="0.35")
    figure.savefig(png_path)


def running_mean(values: np.ndarray, half: int) -> np.ndarray:
    """Returns the mean (N,) of values (N,) over up to `half` neighbours on each side, fewer at the ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, last = np.maximum(place - half, 0), np.minimum(place + half + 1, len(values))
    return (total[last] - total[first]) / (last - first)
