"""The lattice of windows in the samples of runs, beside that of their data: numbers and folded gradients.

Shapes: N samples, C channels, F frames, H height, W width.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ptdit_jax import config as rules
from ptdit_jax import plots
from ptdit_jax.analyze import runs
from ptdit_jax.analyze.borders import Lattice, Sides, folded_gradient, lattice
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.decoding import Decoder, factor_of, is_drawn
from ptdit_jax.experiment.origin import Origin
from ptdit_jax.text_tables import table

DATA = "data"
SHIFTED = {"on": "samples", "off": "samples, no shift"}
"""What `--shifted` makes, and how tables call it."""
SPACES = ("latents", "pixels")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is measured of a run.

    Attributes:
      run: see there.
      name: of the run, for tables.
      space: one of `SPACES`.
      window: rows and columns of its windows in cells of that space.
      token: rows and columns of a token likewise.
    """

    run: Origin
    name: str
    space: str
    window: Sides
    token: Sides


@dataclasses.dataclass(frozen=True)
class Found:
    """Of one set of pictures.

    Attributes:
      run: its name.
      what: `DATA`, or a value of `SHIFTED`.
      count: pictures.
      lattice: their numbers.
      folded: (rows, columns) of a window, see `borders.folded_gradient`.
    """

    run: str
    what: str
    count: int
    lattice: Lattice
    folded: np.ndarray


def plan(
    run: Origin, window: Sequence[int] | None, space: str, shifted: Sequence[str], *, name: str = "run"
) -> Plan:
    """Check what is asked for, before anything is computed.

    Args:
      run: see there.
      window: (cf, ch, cw) tokens whose borders are looked at; None for the run's own.
      space: one of `SPACES`.
      shifted: keys of `SHIFTED`.
      name: see `Plan`.

    Raises:
      ValueError: the run has several windows, no shifted ones, no pictures, or too large windows.
    """
    config, flag = run.config, f"--checkpoint={run.path}"
    if window is None and len(rules.parts(config)) > 1:
        raise ValueError(
            f"{flag}: compression.by_time={config.compression.by_time} has a window for each time; choose one with "
            "--window"
        )
    if "off" in shifted and not rules.architecture(config).shift_every:
        raise ValueError(f"{flag} has no shifted windows, so that --shifted must be on")
    if space == "pixels" and not is_drawn(config):
        raise ValueError(
            f"{flag} makes latents, and its config names no autoencoder: --space must be latents"
        )
    own, layout = rules.layout(config)
    sides = tuple(window or own)[1:]
    if sides[0] >= layout.grid[1] and sides[1] >= layout.grid[2]:
        raise ValueError(
            f"windows of {sides[0]}x{sides[1]} tokens cover the grid of {layout.grid[1]}x{layout.grid[2]} of {flag}: "
            "there is no border inside; choose smaller ones with --window"
        )
    sides = tuple(min(side, size) for side, size in zip(sides, layout.grid[1:], strict=True))
    factor = factor_of(config)[1:] if space == "pixels" else (1, 1)
    rows, columns = (p * s for p, s in zip(rules.architecture(config).patches, factor, strict=True))
    return Plan(run, name, space, (sides[0] * rows, sides[1] * columns), (rows, columns))


def measure(asked: Plan, shifted: Sequence[str], *, count: int, seed: int, mesh: Mesh) -> list[Found]:
    """The lattice of a run's data, and of its samples.

    Args:
      asked: see there.
      shifted: keys of `SHIFTED`.
      count: records, and samples of each kind.
      seed: of the draw of records, and of the noise of samples.
      mesh: the devices.

    Raises:
      ValueError: there are too few records, or see `runs.samples`.
      NotFinite: a sample is not finite.
    """
    run = asked.run
    pictures = {DATA: np.stack([each["x"] for each in runs.records(run.config, count, seed=seed)])}
    experiment = build(run.config, mesh=mesh, null_text=run.empty_caption())
    params = run.load(experiment, mesh)
    for kind in shifted:
        weights = params if kind == "on" else without_shift(params)
        pictures[SHIFTED[kind]], _ = runs.samples(run, experiment, weights, count, seed=seed, mesh=mesh)
    if asked.space == "pixels":
        decoder = Decoder(run.config, mesh)
        pictures = {what: decoder(latents) for what, latents in pictures.items()}
    return [
        Found(
            asked.name,
            what,
            count,
            lattice(each, asked.window, asked.token),
            folded_gradient(each, asked.window),
        )
        for what, each in pictures.items()
    ]


def without_shift(params: Any) -> Any:
    """Parameters whose shifted windows add nothing to the tokens: the second line of Eq. 2 is left out.

    Args:
      params: of a PT-DiT; the last projection of its shifted attention, and the Linear after it, become zero.
    """

    def one(path: tuple, leaf: jax.Array) -> jax.Array:
        names = [str(getattr(key, "key", key)) for key in path]
        is_last = "blocks" in names and (
            "linear_2" in names or ("shifted_attention" in names and "out" in names)
        )
        return jnp.zeros_like(leaf) if is_last else leaf

    return jax.tree_util.tree_map_with_path(one, params)


def as_rows(found: Sequence[Found]) -> list[dict[str, Any]]:
    """The numbers, a row for each set of pictures; `over_data` is `mean` over that of the data of the run."""
    data = {each.run: each.lattice.mean for each in found if each.what == DATA}
    return [
        {"run": each.run, "pictures": each.what, "count": each.count}
        | {name: None if np.isnan(value) else value for name, value in each.lattice._asdict().items()}
        | {"over_data": each.lattice.mean / data[each.run]}
        for each in found
    ]


def report(found: Sequence[Found]) -> str:
    """The numbers as a table."""
    header = ["run", "pictures", "vertical", "horizontal", "lattice", "over data's", "over token borders"]
    names = ("vertical", "horizontal", "mean", "over_data", "tokens")
    lines = [
        [row["run"], row["pictures"], *("" if row[name] is None else f"{row[name]:.3f}" for name in names)]
        for row in as_rows(found)
    ]
    return table(header, lines)


def draw(found: Sequence[Found], path: Path) -> None:
    """The folded gradients: a row a run, a column a kind of pictures."""
    names = list(dict.fromkeys(each.run for each in found))
    plots.heat_maps(
        [[each.folded for each in found if each.run == name] for name in names],
        path,
        row_names=names,
        column_names=[each.what for each in found if each.run == names[0]],
        shared=True,
        note=(
            "Mean absolute difference of a cell from the next ones, folded onto one window; differences across the "
            "borders of windows are in the last row and the last column."
        ),
    )
