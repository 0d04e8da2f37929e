"""The report of a sweep: one HTML file with figures, samples and the table, that needs nothing else."""

import base64
import dataclasses
import functools
import io
import math
import statistics
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ptdit_jax import evaluation, files
from ptdit_jax.evaluation.interface import Direction
from ptdit_jax.sweep import points
from ptdit_jax.sweep.points import Sweep

Row = dict[str, Any]
Metrics = Mapping[str, Direction]  # by name: which direction is better
SIZE = (5.2, 4.0)  # inches of a figure, which a phone shows at about three quarters of it
SHOWN = 2  # metrics that have figures of their own, and stand beside samples
SIGN = {"lower": 1, "higher": -1}
LINES = ("-", "--", ":", "-.")
STYLE: Any = {
    "font.size": 10,
    "svg.hashsalt": "ptdit_jax",  # the same figure, the same bytes
    "axes.spines.top": False,
    "axes.spines.right": False,
}
UNSEEN = ("loss_steps", "loss_curve", "error")  # columns that are no cells of the table of all runs


@dataclasses.dataclass(frozen=True)
class Variant:
    """Runs that differ in their seed alone.

    Attributes:
      number: by which figures name it, from 1.
      name: without the seed.
      rows: of the table, those that are done.
    """

    number: int
    name: str
    rows: Sequence[Row]

    def __getitem__(self, column: str) -> Any:
        """What all its runs have in common."""
        return self.rows[0][column]

    def values(self, column: str) -> list[float]:
        """Of every run, where it is known."""
        return [row[column] for row in self.rows if row.get(column) is not None]

    def mean(self, column: str) -> float:
        """Over the runs; nan without any."""
        values = self.values(column)
        return statistics.fmean(values) if values else math.nan


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
      name: of its file.
      caption: what it shows.
      svg: the file.
    """

    name: str
    caption: str
    svg: bytes

    @property
    def source(self) -> str:
        """Of an image in HTML."""
        return _source("image/svg+xml", self.svg)


def write(sweep: Sweep, table: pa.Table) -> None:
    """Write `report.html`, and its figures into `figures/`, in the sweep's folder.

    Args:
      sweep: its points.
      table: of `tables.collect`.
    """
    rows = [row for row in table.to_pylist() if row["state"] == "done"]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["variant"], []).append(row)
    variants = [Variant(number, name, group) for number, (name, group) in enumerate(groups.items(), 1)]
    metrics: Metrics = {
        name: direction
        for name, direction in better(sweep).items()
        if any(variant.values(name) for variant in variants)
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ptdit_jax.sweep", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    with matplotlib.rc_context(STYLE):
        pictures = figures(variants, metrics, sweep.varied)
    text = environment.get_template("report.html.jinja").render(
        name=sweep.name,
        about=paragraphs(sweep.about),
        state=state(table),
        findings=findings(variants, metrics),
        figures=pictures,
        variants=variant_table(variants, metrics),
        samples=[
            {"source": source, "caption": caption(row, list(metrics)[:SHOWN])}
            for row in rows
            if (source := _picture(sweep.folder(row["point"]) / "samples.png"))
        ],
        runs=run_table(table),
    )
    folder = sweep.workdir / "figures"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for picture in pictures:
        (folder / f"{picture.name}.svg").write_bytes(picture.svg)
    files.write(sweep.workdir / "report.html", lambda draft: draft.write_text(text))


def better(sweep: Sweep) -> Metrics:
    """Figures that the runs are ranked by, the most telling first, and which direction is better."""
    found = [evaluation.find(name) for name in {p.config.evaluation.name: None for p in sweep.points}]
    named: Metrics = {name: way for one in found if one is not None for name, way in one.better.items()}
    return named


def paragraphs(text: str) -> list[dict[str, Any]]:
    """Of a docstring; those that are indented are code."""
    blocks = [block.strip("\n") for block in text.split("\n\n")]
    return [
        {"text": textwrap.dedent(block), "is_code": True}
        if block.startswith(" ")
        else {"text": " ".join(block.split()), "is_code": False}
        for block in blocks
    ]


def state(table: pa.Table) -> str:
    """How many runs there are, and what those that are not done are."""
    rows = table.to_pylist()
    done = sum(row["state"] == "done" for row in rows)
    text = f"{done} of {len(rows)} runs are done."
    for what in dict.fromkeys(row["state"] for row in rows if row["state"] != "done"):
        names = [row["point"] for row in rows if row["state"] == what]
        text += f"  {what.capitalize()}: {points.some(names, 8)}."
    return text


def findings(variants: Sequence[Variant], metrics: Metrics) -> list[str]:
    """What the figures say, as sentences."""
    sentences = []
    for metric, direction in metrics.items():
        known = sorted(
            (variant for variant in variants if variant.values(metric)),
            key=lambda variant: variant.mean(metric) * SIGN[direction],
        )
        best, worst = known[0], known[-1]
        text = f"{title(metric)} ({direction} is better): best {best.name} with {spread(best, metric)}"
        if worst is not best:
            text += f", worst {worst.name} with {spread(worst, metric)}"
        if metric == "frechet_distance" and best.values("frechet_real"):
            text += f"; held-out real samples have {number(best.mean('frechet_real'))}"
        near = [variant.name for variant in known[1:] if overlap(best, variant, metric)]
        if max(len(variant.rows) for variant in known) > 1:
            text += f".  Not apart from the best: {', '.join(near) or 'none'}"
        front = ", ".join(variant.name for variant in pareto(known, metric, direction))
        sentences.append(f"{text}.  Nothing is as cheap and better than: {front}.")
    if metrics and all(len(variant.rows) == 1 for variant in variants):
        sentences.append(
            "Every variant was trained once: how much of a difference is chance is not known from this."
        )
    return sentences


def overlap(a: Variant, b: Variant, metric: str) -> bool:
    """Whether the ranges of two variants' seeds share a value."""
    one, other = a.values(metric), b.values(metric)
    return min(one) <= max(other) and min(other) <= max(one)


def pareto(variants: Sequence[Variant], metric: str, direction: Direction) -> list[Variant]:
    """The variants than which no other is at most as costly and better, nor cheaper and as good; cheapest first."""
    sign = SIGN[direction]
    front: list[Variant] = []
    for variant in sorted(variants, key=lambda variant: (variant.mean("macs"), sign * variant.mean(metric))):
        if not front or sign * variant.mean(metric) < sign * front[-1].mean(metric):
            front.append(variant)
    return front


def figures(variants: Sequence[Variant], metrics: Metrics, varied: Sequence[str]) -> list[Picture]:
    """Quality against cost, quality and speed against the ratio where it varies, and losses."""
    made: list[Picture] = []
    shown = list(metrics)[:SHOWN]
    for metric in shown:
        text = f"{title(metric)} against cost; {metrics[metric]} is better, the line is the Pareto front"
        draw = functools.partial(_against_cost, variants=variants, metric=metric, direction=metrics[metric])
        made.append(Picture(f"{metric}_cost", text, _svg(draw)))
    lines = ratio_lines(variants, varied)
    if lines:
        families = {line[0]["family"] for line in lines}
        plain = [variant for variant in variants if variant["family"] not in families]
        for column in (*shown, "step_seconds"):
            text = f"{title(column)} against the compression ratio" + (
                "; broken lines: baselines" if plain else ""
            )
            draw = functools.partial(_against_ratio, lines=lines, plain=plain, column=column)
            made.append(Picture(f"{column}_ratio", text, _svg(draw)))
    if any(variant["loss_curve"] for variant in variants):
        draw = functools.partial(_losses, variants=variants)
        made.append(Picture("loss", "Training loss, mean of the seeds", _svg(draw)))
    return made


def ratio_lines(variants: Sequence[Variant], varied: Sequence[str]) -> list[list[Variant]]:
    """Variants that differ in their compression ratio alone, by ratio."""
    rest = [field for field in varied if not field.startswith("compression.")]
    groups: dict[tuple[Any, ...], list[Variant]] = {}
    for variant in variants:
        if variant["ratio"] is not None:
            groups.setdefault(tuple(variant[field] for field in rest), []).append(variant)
    lines = [sorted(group, key=lambda variant: variant["ratio"]) for group in groups.values()]
    return [line for line in lines if len({variant["ratio"] for variant in line}) > 1]


def _against_cost(axes: Axes, variants: Sequence[Variant], metric: str, direction: Direction) -> None:
    known = [variant for variant in variants if variant.values(metric)]
    series = dict.fromkeys((variant["family"], variant["tokens"]) for variant in known)
    for color, (family, tokens) in enumerate(series):
        own = [variant for variant in known if (variant["family"], variant["tokens"]) == (family, tokens)]
        x, y = [variant["macs"] / 1e6 for variant in own], [variant.mean(metric) for variant in own]
        ranges = [[max(0, variant.mean(metric) - min(variant.values(metric))) for variant in own],
                  [max(0, max(variant.values(metric)) - variant.mean(metric)) for variant in own]]  # fmt: skip
        label = f"{family}, {tokens} tokens"
        axes.errorbar(x, y, ranges, fmt="o", color=f"C{color}", markersize=5, elinewidth=0.8, label=label)
        for variant, left, bottom in zip(own, x, y, strict=True):
            axes.annotate(str(variant.number), (left, bottom), (4, 4), textcoords="offset points", fontsize=9)
    front = pareto(known, metric, direction)
    axes.plot(
        [variant["macs"] / 1e6 for variant in front],
        [variant.mean(metric) for variant in front],
        color="0.6",
        linewidth=1,
        zorder=0,
    )
    costs = [variant["macs"] for variant in known]
    if max(costs) > 20 * min(costs):
        axes.set_xscale("log")
    axes.set(xlabel="M multiply-accumulates of a forward pass", ylabel=title(metric))
    axes.legend(frameon=False)


def _against_ratio(
    axes: Axes, lines: Sequence[Sequence[Variant]], plain: Sequence[Variant], column: str
) -> None:
    unit = UNITS.get(column, 1)
    colors: dict[int, str] = {}
    for line in lines:
        tokens = line[0]["tokens"]
        colors[tokens] = color = colors.get(tokens, f"C{len(colors)}")
        x = [variant["ratio"] for variant in line]
        axes.plot(x, [unit * variant.mean(column) for variant in line], marker="o", color=color,
                  label=f"{line[0]['family']}, {tokens} tokens")  # fmt: skip
        for variant in line:
            values = [unit * value for value in variant.values(column)]
            axes.plot([variant["ratio"]] * len(values), values, "_", color=color)
    families = list(dict.fromkeys(variant["family"] for variant in plain))
    for variant in plain:
        style = LINES[1 + families.index(variant["family"]) % 3]
        axes.axhline(unit * variant.mean(column), color=colors.get(variant["tokens"], "0.5"), linestyle=style,
                     linewidth=1, label=f"{variant['family']}, {variant['tokens']} tokens")  # fmt: skip
    ratios = sorted({variant["ratio"] for line in lines for variant in line})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ratios, [str(ratio) for ratio in ratios])
    axes.set(xlabel="tokens a window (compression ratio)", ylabel=title(column))
    if column == "step_seconds":
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)


def _losses(axes: Axes, variants: Sequence[Variant]) -> None:
    for i, variant in enumerate(variants):
        curves = zip(*variant.values("loss_curve"))  # type: ignore[arg-type]
        losses = [statistics.fmean(values) for values in curves]
        axes.plot(variant["loss_steps"], losses, linewidth=1, color=f"C{i % 10}", linestyle=LINES[i // 10 % 4],
                  label=f"{variant.number} {variant.name}")  # fmt: skip
    axes.set_yscale("log")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend(frameon=False, fontsize=7, ncols=2)


def variant_table(variants: Sequence[Variant], metrics: Iterable[str]) -> dict[str, Any]:
    """A row a variant: cost, speed and quality."""
    columns = ["parameters", "macs", "step_seconds", "images_per_second", "peak_rss_mib", "loss", *metrics]
    rows = [
        [
            _cell(f"{variant.number} {variant.name}", variant.number),
            _cell(len(variant.rows)),
            *(_cell(spread(variant, column), variant.mean(column)) for column in columns),
        ]
        for variant in variants
    ]
    return {"header": ["variant", "seeds", *map(title, columns)], "rows": rows}


def run_table(table: pa.Table) -> dict[str, Any]:
    """A row a run: every column but curves."""
    columns = [name for name in table.column_names if name not in UNSEEN]
    return {
        "header": [title(name) for name in columns],
        "rows": [[_cell(_scaled(name, row[name])) for name in columns] for row in table.to_pylist()],
    }


TITLES: Mapping[str, str] = {
    "frechet_distance": "Fréchet distance",
    "frechet_real": "Fréchet distance of real samples",
    "macs": "M MACs",
    "step_seconds": "ms a step",
    "images_per_second": "images/s",
    "peak_rss_mib": "peak memory, MiB",
    "planned_mib": "memory of a step, MiB",
    "run_seconds": "seconds of the run",
}
UNITS: Mapping[str, float] = {"macs": 1e-6, "step_seconds": 1e3}


def _scaled(column: str, value: Any) -> Any:
    """A value in the unit of its title."""
    return value * UNITS[column] if column in UNITS and value is not None else value


def title(column: str) -> str:
    """A column of the table in words."""
    return TITLES.get(column, column if "." in column else column.replace("_", " ").capitalize())


def spread(variant: Variant, column: str) -> str:
    """The mean, and the range where there are several different values."""
    values = [_scaled(column, value) for value in variant.values(column)]
    if not values:
        return ""
    mean = number(statistics.fmean(values))
    return mean if len(set(values)) == 1 else f"{mean} ({number(min(values))} to {number(max(values))})"


def number(value: float) -> str:
    """Four digits, all of whole numbers."""
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def caption(row: Row, metrics: Iterable[str]) -> str:
    """What to know of a run beside its samples."""
    return ", ".join(
        [row["point"], *(f"{title(name).lower()} {number(row[name])}" for name in metrics if name in row)]
    )


def _cell(content: Any, value: Any = None) -> dict[str, Any]:
    """A cell as it is shown and as it sorts."""
    value = content if value is None else value
    if content is None or (isinstance(value, float) and math.isnan(value)):
        return {"text": "" if content is None else content, "value": ""}
    is_number = isinstance(content, (int, float)) and not isinstance(content, bool)
    return {"text": number(content) if is_number else str(content), "value": value}


def _svg(draw: Callable[[Axes], None]) -> bytes:
    """A figure as a file."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3, which="both")
    draw(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _picture(path: Path) -> str | None:
    return _source("image/png", path.read_bytes()) if path.exists() else None


def _source(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
