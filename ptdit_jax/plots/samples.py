"""Pictures of a run: the loss curve, grids of samples, film strips and animations of videos.

Shapes: N samples, C channels (1 grey or 3 RGB), F frames, H rows, W columns. Values are in [-1, 1]; what lies
outside is clipped. Pixels are enlarged by whole numbers and stay square and sharp.
"""

import csv
import dataclasses
import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import einops
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image, ImageDraw, ImageFont

TILE = 64  # pixels that a sample's shorter side is enlarged to, at least
GAP = 6  # pixels between samples
STRIP = 2  # pixels between the frames of a film strip
CAPTION = 18  # height of a caption in pixels
PAPER, INK = 255, 0  # grey levels of background and text
# Okabe and Ito's colours, which also those who see fewer colours tell apart (jfly.uni-koeln.de/color), grey for their
# black; and dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
DASHES = ("-", "--", "-.", (0, (8, 1.5, 1.5, 1.5, 1.5, 1.5)))
# What samples are written as, by the suffix of the file in small letters.
STILL = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
MOVING = {".gif": "GIF", ".webp": "WEBP", ".apng": "PNG"}
LARGEST = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535}  # pixels of a side that a format or its writer has
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


def sample_grid(
    images: np.ndarray,
    labels: Sequence[object] | np.ndarray | None,
    png_path: str | Path,
    *,
    columns: int | None = None,
) -> None:
    """Writes a picture of samples, each under its label: images side by side, a video as a row of its frames.

    Args:
        images: (N, C, F, H, W) in [-1, 1].
        labels: N captions, or None.
        png_path: the picture to write, of one of the formats of `STILL`; the folder must exist.
        columns: samples a row; None: a column for each different label if they fill the rows, else a square.
            Videos have one sample a row.

    Raises:
        ValueError: the shapes are not as above.
    """
    films = _films(images, labels)
    if films.shape[1] > 1:
        film = films.transpose(0, 2, 1, 3, 4)  # (N, H, F, W, C): the frames of a sample beside each other
        gapped = np.pad(film, ((0, 0), (0, 0), (0, 0), (0, STRIP), (0, 0)), constant_values=PAPER)
        tiles = gapped.reshape(*film.shape[:2], -1, film.shape[-1])[:, :, :-STRIP]
        columns = 1
    else:
        tiles = films[:, 0]
    columns = columns or _columns(len(tiles), labels)
    _page(tiles, labels, columns).save(png_path, quality=95)  # JPEG alone has one


def animation(
    videos: np.ndarray,
    labels: Sequence[object] | np.ndarray | None,
    path: str | Path,
    *,
    columns: int | None = None,
    frames_per_second: float = 8.0,
) -> None:
    """Writes a grid of moving samples as an endless animation, of one of the formats of `MOVING`.

    Args:
        videos: (N, C, F, H, W) in [-1, 1].
        labels: N captions, or None.
        path: the file to write; the folder must exist.
        columns: samples a row; None as in `sample_grid`.
        frames_per_second: speed.

    Raises:
        ValueError: the shapes or the suffix are not as above.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in MOVING:
        raise ValueError(f"{path}: an animation is one of {', '.join(MOVING)}")
    films = _films(videos, labels)
    columns = columns or _columns(len(films), labels)
    first, *rest = (_page(films[:, frame], labels, columns) for frame in range(films.shape[1]))
    first.save(
        path,
        format=MOVING[suffix],
        save_all=True,
        append_images=rest,
        duration=round(1000 / frames_per_second),
        loop=0,
        lossless=True,
    )


def check_size(path: Path, shape: Sequence[int], labels: Sequence[object] | np.ndarray | None) -> None:
    """Refuses what would be too large for its format, for samples (N, C, F, H, W) that are not made yet.

    Raises:
        ValueError: it would.
    """
    count, _, frames, height, width = shape
    factor = math.ceil(TILE / min(height, width))
    height, width, columns = factor * height, factor * width, _columns(count, labels)
    if frames > 1 and path.suffix.lower() not in MOVING:
        width, columns = frames * (width + STRIP) - STRIP, 1
    size = _page_size(count, height, width, labels, columns)
    limit = LARGEST.get((STILL | MOVING)[path.suffix.lower()], math.inf)
    if max(size) > limit:
        raise ValueError(
            f"{path}: {count} samples are a picture of {size[1]:,} x {size[0]:,} pixels, and {path.suffix} has up "
            f"to {limit:,} a side; make fewer, or write .png or .npy"
        )


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Maps [-1, 1] to 0..255, rounding to the nearest and clipping what is outside; any shape, finite values."""
    if not np.isfinite(images).all():
        raise ValueError("the samples hold values that are not finite; nothing is drawn from them")
    return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


def _films(images: np.ndarray, labels: Sequence[object] | np.ndarray | None) -> np.ndarray:
    """Returns checked samples as (N, F, H', W', C) uint8, enlarged so that they can be seen."""
    images = np.asarray(images)
    if images.ndim != 5 or images.shape[1] not in (1, 3) or not images.size:
        raise ValueError(f"images {images.shape}: must be (N, C, F, H, W) with C of 1 or 3")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} images")
    factor = math.ceil(TILE / min(images.shape[3:]))
    return einops.repeat(to_uint8(images), "n c f h w -> n f (h a) (w b) c", a=factor, b=factor)


def _columns(count: int, labels: Sequence[object] | np.ndarray | None) -> int:
    """Returns how many samples go into a row when the caller leaves it open."""
    kinds = len({str(label) for label in labels}) if labels is not None else 0
    return kinds if 1 < kinds <= 16 and count % kinds == 0 else math.ceil(math.sqrt(count))


def _page_size(count: int, height: int, width: int, labels: object, columns: int) -> tuple[int, int]:
    """Returns the rows and columns of pixels of a page of tiles."""
    cell = height + GAP + (CAPTION if labels is not None else 0)
    return math.ceil(count / columns) * cell + GAP, min(columns, count) * (width + GAP) + GAP


def _page(tiles: np.ndarray, labels: Sequence[object] | np.ndarray | None, columns: int) -> Image.Image:
    """Lays tiles (N, H, W, C) uint8 out row by row on white paper, each under its caption."""
    count, height, width, channels = tiles.shape
    caption = CAPTION if labels is not None else 0
    columns = min(columns, count)
    cell_height, cell_width = height + caption + GAP, width + GAP
    paper = np.full((*_page_size(count, height, width, labels, columns), channels), PAPER, np.uint8)
    corners = [(GAP + i // columns * cell_height, GAP + i % columns * cell_width) for i in range(count)]
    for tile, (top, left) in zip(tiles, corners, strict=True):
        paper[top + caption : top + caption + height, left : left + width] = tile
    page = Image.fromarray(paper[..., 0] if channels == 1 else paper)
    if labels is not None:
        draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=CAPTION - 4)
        for label, (top, left) in zip(labels, corners, strict=True):
            ink = INK if channels == 1 else (INK, INK, INK)
            draw.text((left + width / 2, top + caption / 2), str(label), fill=ink, font=font, anchor="mm")
    return page
