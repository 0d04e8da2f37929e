"""The figures of a sweep's report: quality against cost, quality and speed against the ratio, losses."""

import base64
import dataclasses
import functools
import io
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ptdit_jax.evaluation.interface import Direction
from ptdit_jax.sweep.columns import UNITS, title
from ptdit_jax.sweep.variants import Metrics, Variant, pareto, ratio_lines

SIZE = (5.2, 4.0)  # inches of a figure, which a phone shows at about three quarters of it
LINES = ("-", "--", ":", "-.")
STYLE: Any = {
    "font.size": 10,
    "svg.hashsalt": "ptdit_jax",  # the same figure, the same bytes
    "axes.spines.top": False,
    "axes.spines.right": False,
}


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
        return data_uri("image/svg+xml", self.svg)


def draw(variants: Sequence[Variant], metrics: Metrics, varied: Sequence[str]) -> list[Picture]:
    """Quality against cost, quality and speed against the ratio where it varies, and losses.

    Args:
      variants: all that are done.
      metrics: those that have figures of their own.
      varied: fields of the config in which points differ.
    """
    with matplotlib.rc_context(STYLE):
        return _pictures(variants, metrics, varied)


def _pictures(variants: Sequence[Variant], metrics: Metrics, varied: Sequence[str]) -> list[Picture]:
    made: list[Picture] = []
    for metric, direction in metrics.items():
        text = f"{title(metric)} against cost; {direction} is better, the line is the Pareto front"
        make = functools.partial(_against_cost, variants=variants, metric=metric, direction=direction)
        made.append(Picture(f"{metric}_cost", text, _svg(make)))
    lines = ratio_lines(variants, varied)
    if lines:
        families = {line[0]["family"] for line in lines}
        plain = [variant for variant in variants if variant["family"] not in families]
        for column in (*metrics, "step_seconds"):
            text = f"{title(column)} against the compression ratio" + (
                "; broken lines: baselines" if plain else ""
            )
            make = functools.partial(_against_ratio, lines=lines, plain=plain, column=column)
            made.append(Picture(f"{column}_ratio", text, _svg(make)))
    if any(variant["loss_curve"] for variant in variants):
        make = functools.partial(_losses, variants=variants)
        made.append(Picture("loss", "Training loss, mean of the seeds", _svg(make)))
    return made


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


def _svg(draw: Callable[[Axes], None]) -> bytes:
    """A figure as a file."""
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3, which="both")
    draw(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def data_uri(kind: str, data: bytes) -> str:
    """A file as the source of an image in HTML."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
