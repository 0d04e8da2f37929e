"""How redundant the attention of a trained network is, layer by layer and time by time: numbers and maps.

Shapes: S samples, B of them together, L layers, n tokens of a window, N tokens.
"""

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ptdit_jax import plots
from ptdit_jax.analyze import capture, runs
from ptdit_jax.analyze.regions import Regions
from ptdit_jax.analyze.similarity import Redundancy, redundancy, window_maps
from ptdit_jax.diffusion import Objective
from ptdit_jax.diffusion.paths import diffuse
from ptdit_jax.progress import Bar
from ptdit_jax.text_tables import table

MOST_MAPS = 16  # tokens, and layers, that a picture shows at most
COLUMNS: tuple[str, ...] = (
    "layer",
    "time",
    "keys",
    "share",
    "cosine_same",
    "cosine_other",
    "overlap_same",
    "overlap_other",
)
"""Of the table of numbers: `keys` is "far" or "near", `share` of the attention is theirs."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """Of one time.

    Attributes:
      time: t in (0, 1), 1 = noise.
      layers: their numbers.
      figures: of each layer and sample, arrays (L, S) float32.
      maps: (L, n, N) float32, the attention of the tokens of the middle window of the first sample, mean over heads.
    """

    time: float
    layers: tuple[int, ...]
    figures: Redundancy
    maps: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """The means over samples, a row for the far and the near keys of each layer; see `COLUMNS`."""
        means: Redundancy = jax.tree.map(lambda each: np.asarray(each, np.float64).mean(axis=1), self.figures)
        found = []
        for i, layer in enumerate(self.layers):
            share = float(means.far_share[i])
            for keys, same, other, part in (
                ("far", means.same_far, means.other_far, share),
                ("near", means.same_near, means.other_near, 1 - share),
            ):
                numbers = (same.cosine, other.cosine, same.overlap, other.overlap)
                row = (layer, self.time, keys, part, *(float(each[i]) for each in numbers))
                found.append(dict(zip(COLUMNS, row, strict=True)))
        return found


def check_family(config: Any, path: Path) -> None:
    """Refuse a network without attention of all tokens to all.

    Raises:
      ValueError: it is one.
    """
    if config.model.family not in capture.FAMILIES:
        names = ", ".join(map(repr, capture.FAMILIES))
        raise ValueError(
            f"--checkpoint={path} has model.family={config.model.family!r}, whose tokens do not all attend to all; "
            f"redundancy is measured of {names}"
        )


def chosen_layers(text: str, depth: int) -> tuple[int, ...]:
    """The layers of "all" or "0,3".

    Args:
      text: as typed.
      depth: layers of the network.

    Raises:
      ValueError: there is no such layer.
    """
    if text == "all":
        return tuple(range(depth))
    words = text.split(",")
    if not all(word.isdecimal() and int(word) < depth for word in words):
        raise ValueError(
            f"--layers={text} must be all, or numbers from 0 to {depth - 1} with commas: 0,{depth - 1}"
        )
    return tuple(sorted({int(word) for word in words}))


def chosen_times(text: str) -> tuple[float, ...]:
    """The times of "0.1,0.5".

    Raises:
      ValueError: one is no number between 0 and 1.
    """
    try:
        times = tuple(float(word) for word in text.split(","))
    except ValueError:
        times = (0.0,)
    if not all(0 < time < 1 for time in times):
        raise ValueError(
            f"--times={text} must be numbers between 0 (data) and 1 (noise) with commas: 0.1,0.5,0.9"
        )
    return tuple(sorted(set(times)))


def measure(
    config: Any,
    objective: Objective,
    params: Any,
    x0: np.ndarray,
    condition: Any,
    where: Regions,
    *,
    times: Sequence[float],
    layers: Sequence[int],
    batch: int,
    seed: int,
) -> list[Measured]:
    """Noise samples, run the network over them, and measure the attention of its layers.

    Args:
      config: the whole config.
      objective: its path says how much noise a time has.
      params: the network's parameters, on one device.
      x0: (S, C, F, H, W) float32, data or samples.
      condition: of each, arrays of S rows, or None.
      where: the windows.
      times: t of each measurement; a sample has the same noise at all of them.
      layers: their numbers.
      batch: samples together.
      seed: of the noise.
    """
    tokens = where.tokens[where.middle]

    def look(q: jax.Array, k: jax.Array) -> tuple[Redundancy, jax.Array]:
        return redundancy(q, k, where), window_maps(q, k, tokens)

    watching = capture.make_watching(config, look, layers)

    @jax.jit
    def run(params: Any, x0: jax.Array, eps: jax.Array, t: jax.Array, condition: Any) -> Any:
        return watching(params, diffuse(objective.path, x0, eps, t), t, condition)[1]

    eps = np.random.default_rng(seed).standard_normal(x0.shape, np.float32)
    groups, found = runs.batches(len(x0), min(batch, len(x0))), []
    with Bar(len(times) * len(groups), "attention", "batch") as bar:
        for time in times:
            parts, maps = [], []
            for rows in groups:
                t = np.full(len(rows), time, np.float32)
                given = jax.tree.map(lambda each, rows=rows: each[rows], (x0, eps, condition))
                seen, shown = jax.device_get(run(params, given[0], given[1], t, given[2]))
                parts.append(seen)
                maps.append(shown)
                bar.update()
            figures = jax.tree.map(lambda *each: np.concatenate(each, axis=1)[:, : len(x0)], *parts)
            found.append(Measured(time, tuple(layers), figures, maps[0]))
    return found


def report(found: Sequence[Measured]) -> str:
    """The numbers as a table, a line for each layer and time."""
    header = ["layer", "t", "attention to far", "far cosine", "of others", "far overlap", "of others"]
    header += ["near cosine", "of others", "near overlap", "of others"]
    lines = []
    for each in found:
        rows = each.rows()
        for far, near in zip(rows[::2], rows[1::2], strict=True):
            numbers = [far["share"], *(row[name] for row in (far, near) for name in COLUMNS[4:])]
            lines.append([str(far["layer"]), f"{each.time:g}", *(f"{number:.3f}" for number in numbers)])
    return table(header, lines)


def write_csv(found: Sequence[Measured], path: Path) -> None:
    """The numbers as a file of `COLUMNS`."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(row for each in found for row in each.rows())


def draw(measured: Measured, where: Regions, path: Path) -> None:
    """The maps of one time, after Fig. 3: a row a layer, a column a token of the window, which has a frame.

    Where there are many, `MOST_MAPS` of them, evenly spaced; of films the frame that the window begins in.
    """
    (_, height, width), (_, ch, cw) = where.grid, where.window
    tokens = where.tokens[where.middle]
    frame, first = divmod(int(tokens[0]), height * width)
    shown = _some(len(tokens))
    layers = _some(len(measured.layers))
    grids = measured.maps.reshape(*measured.maps.shape[:2], -1, height, width)[:, :, frame]
    plots.heat_maps(
        [[grids[i, j] for j in shown] for i in layers],
        path,
        row_names=[f"layer {measured.layers[i]}" for i in layers],
        column_names=[_place(int(tokens[j]), where) for j in shown],
        gamma=0.5,
        box=(first // width, first % width, ch, cw),
        note=(
            f"Attention at t = {measured.time:g} of the tokens of one window (frame; row, column above) to all tokens "
            "of the first sample, mean over heads.  Colours by the root of the weight."
        ),
    )


def _some(count: int) -> list[int]:
    """At most `MOST_MAPS` of so many, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_MAPS)).round().astype(int)).tolist()


def _place(token: int, where: Regions) -> str:
    frame, row, column = (int(each) for each in np.unravel_index(token, where.grid))
    return f"{row}, {column}" if where.grid[0] == 1 else f"{frame}: {row}, {column}"
