"""The paper's comparisons of costs, counted, beside the figures that it prints.

`python -m ptdit_jax.cost --figures DIR` writes them (`page`).  A figure of the paper whose values it does not print is
compared with the ratios that its text states (`published.RATIOS`).
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from ptdit_jax import plots
from ptdit_jax.cost import memory as cost_memory
from ptdit_jax.cost import published
from ptdit_jax.cost.count import config_of, macs
from ptdit_jax.models.complexity import Macs
from ptdit_jax.parallel.chips import GIB

RESOLUTIONS = (256, 512, 1024, 2048)  # pixels
VIDEO_RESOLUTIONS = (256, 512, 1024)
VIDEO_FRAMES = 48  # latent frames of the paper's Fig. 7
MEMORY_SIDE = 512  # pixels
MEMORY_FRAMES = (48, 96, 192, 288)  # frames in pixels
TIME_STRIDE = 4  # frames a latent frame

Row = dict[str, str | int | float]


@dataclasses.dataclass(frozen=True)
class Figure:
    """What is written for one figure.

    Attributes:
      name: of the files.
      title: what it compares.
      note: which counter, which sizes.
      rows: of the CSV, all with the same keys; `paper` and `difference_percent` are "" where the paper prints nothing.
      panels: of the picture.
      log_x: whether they have a logarithmic horizontal axis.
    """

    name: str
    title: str
    note: str
    rows: list[Row]
    panels: list[plots.Panel]
    log_x: bool = True


COUNTER = (
    'MACs of one forward pass of one sample, the products of attention counted, as the paper\'s "GFLOPs"; '
)
IMAGES = COUNTER + "latents are pixels/8, one frame."
VIDEOS = COUNTER + f"latents are pixels/8, {VIDEO_FRAMES} latent frames."
MEMORY = (
    f"Batch 1 at {MEMORY_SIDE}x{MEMORY_SIDE} pixels; latents are pixels/8, a latent frame is {TIME_STRIDE} frames.  "
    "float32 parameters, AdamW and one average, bfloat16 activations and gradients, block remat.  The paper says that "
    "PT-DiT/XL trains at 288 frames (and at 2048x2048 pixels) on one accelerator of 64 GB.  Attention scores are "
    "arrays here; a kernel that never has them all would need less for full attention."
)


def make() -> Iterator[Figure]:
    """All figures."""
    image = "Fig. 2: cost against resolution, PT-DiT/L and PixArt-alpha"
    yield comparison("fig2", image, IMAGES, [("PT-DiT/L", "PixArt-alpha")])
    video = f"Fig. 7, left: cost of video at {VIDEO_FRAMES} latent frames"
    names = ("PT-DiT/XL", "PT-DiT/H", "CogVideoX-2B", "EasyAnimateV4")
    yield comparison("fig7", video, VIDEOS, [names], VIDEO_RESOLUTIONS, VIDEO_FRAMES)
    yield memory_figure()
    groups = [("PT-DiT/H", "Lumina-Next"), ("PT-DiT/B-Class", "DiT-B/2", "DAM-B")]
    yield comparison("fig10", "Fig. 10: cost against resolution at equal parameters", IMAGES, groups)


def comparison(
    name: str,
    title: str,
    note: str,
    groups: Sequence[Sequence[str]],
    sides: Sequence[int] = RESOLUTIONS,
    frames: int = 1,
) -> Figure:
    """A panel of costs for each group of networks, and one of the ratios that the paper states."""
    counts = {n: {side: macs(n, side, frames) for side in sides} for group in groups for n in group}
    rows = [
        row(
            "G MACs",
            network,
            "",
            side,
            frames,
            count.total / 1e9,
            count.linear / 1e9,
            paper_macs(network, side, frames),
        )
        for network, of_side in counts.items()
        for side, count in of_side.items()
    ]
    scale, prefix = (1e12, "T") if frames > 1 else (1e9, "G")
    x, y = "image side, pixels", f"{prefix} multiply-accumulates"
    panels = [
        plots.Panel(
            ", ".join(group),
            x,
            y,
            lines={n: (sides, [counts[n][side].total / scale for side in sides]) for n in group},
            thin={n: (sides, [counts[n][side].linear / scale for side in sides]) for n in group},
            markers={n: printed(n, sides, frames) for n in group if printed(n, sides, frames)[0]},
        )
        for group in groups
    ]
    lines, thin, markers = {}, {}, {}
    for pair, stated in ratios_of(name).items():
        ours, other = (counts[n] for n in pair)
        shares = [percent(ours[side], other[side]) for side in sides]
        paper = [stated.get(side, stated.get(None)) for side in sides]  # under None one for every size
        for side, (both, linear), figure in zip(sides, shares, paper):
            rows.append(row("% of", *pair, side, frames, both, linear, figure))
        if None in stated:
            both, linear = (sum(values) / len(sides) for values in zip(*shares))
            rows.append(row("% of", *pair, "mean", frames, both, linear, stated[None]))
        label, points = " / ".join(pair), [(s, p) for s, p in zip(sides, paper) if p is not None]
        lines[label], thin[label] = ((sides, values) for values in zip(*shares))
        markers[label] = [s for s, _ in points], [p for _, p in points]
    panels.append(plots.Panel("share of the other's cost", x, "%", lines, thin, markers, log_y=False))
    return Figure(name, title, note, rows, panels)


def row(
    unit: str,
    network: str,
    against: str,
    side: int | str,
    frames: int,
    ours: float,
    linear: float,
    paper: float | None,
) -> Row:
    """A line of the CSV of a comparison."""
    return {
        "unit": unit,
        "network": network,
        "against": against,
        "pixels": side,
        "latent_frames": frames,
        "ours": significant(ours),
        "ours_without_attention_products": significant(linear),
        "paper": "" if paper is None else paper,
        "difference_percent": "" if paper is None else round(100 * (ours / paper - 1), 1),
    }


def memory_figure() -> Figure:
    """Memory of a training step against frames, and PT-DiT/XL's by what it is for."""
    full = config_of("PT-DiT/XL")
    full.model.update({"family": "full3d", "variant": "custom"} | FULL_ATTENTION)
    ours = "PT-DiT/XL"
    configs = {ours: config_of(ours), "PT-DiT/H": config_of("PT-DiT/H"), FULL_NAME: full}
    memories = {
        (n, MEMORY_SIDE, f): training_memory(c, MEMORY_SIDE, f)
        for n, c in configs.items()
        for f in MEMORY_FRAMES
    }
    images = {(ours, side, f) for side, f in published.TRAINS_IN} - memories.keys()
    memories |= {size: training_memory(configs[ours], *size[1:]) for size in sorted(images)}
    rows = []
    for size, memory in memories.items():
        rows += [memory_row(*size, part, count / GIB, None) for part, count in by_use(memory).items()]
        paper = published.TRAINS_IN.get(size[1:]) if size[0] == ours else None
        rows.append(memory_row(*size, "total", memory.total / GIB, paper))
    totals = {n: [memories[n, MEMORY_SIDE, f].total / GIB for f in MEMORY_FRAMES] for n in configs}
    parts = [by_use(memories[ours, MEMORY_SIDE, f]) for f in MEMORY_FRAMES]
    uses = {part: [use[part] / GIB for use in parts] for part in parts[0]}
    fits = [f for f in MEMORY_FRAMES if (MEMORY_SIDE, f) in published.TRAINS_IN]
    x, y = "frames", "GiB on one device"
    panels = [
        plots.Panel(
            f"training at {MEMORY_SIDE}x{MEMORY_SIDE}, batch 1",
            x,
            y,
            lines={name: (MEMORY_FRAMES, values) for name, values in totals.items()},
            markers={ours: (fits, [published.TRAINS_IN[MEMORY_SIDE, f] for f in fits])},
        ),
        plots.Panel(
            f"{ours} by use",
            x,
            y,
            {p: (MEMORY_FRAMES, v) for p, v in uses.items()},
            log_y=False,
            stacked=True,
        ),
    ]
    title = "Fig. 7, right: memory of a training step against frames"
    return Figure("memory_frames", title, MEMORY, rows, panels, log_x=False)


FULL_NAME = "full attention, EasyAnimateV4's size"
FULL_ATTENTION = {"depth": 40, "width": 1408, "heads": 16}


def training_memory(config: Any, side: int, frames: int) -> cost_memory.Memory:
    """As `MEMORY` says, for a square side and frames in pixels."""
    config.model.update({"compute_dtype": "bfloat16", "remat": "block"})
    config.data.batch = 1
    latents = {"frames": max(frames // TIME_STRIDE, 1), "height": side // 8, "width": side // 8}
    return cost_memory.measure(config, **latents)


def memory_row(network: str, side: int, frames: int, part: str, gib: float, paper: float | None) -> Row:
    """A line of the CSV of memory."""
    return {
        "unit": "GiB",
        "network": network,
        "part": part,
        "pixels": side,
        "frames": frames,
        "ours": significant(gib),
        "paper": "" if paper is None else paper,
        "difference_percent": "" if paper is None else round(100 * (gib / paper - 1), 1),
    }


def by_use(memory: cost_memory.Memory) -> dict[str, int]:
    """Bytes of a step in a few groups, which add up to its total."""
    return {
        "parameters": memory.parameters,
        "average": memory.averages,
        "gradients": memory.gradients,
        "AdamW": memory.moments,
        "kept for the backward pass": memory.samples * sum(memory.saved.values()) + memory.weights,
        "one block, computed again": memory.samples * sum(memory.recomputed.values()),
        "gradients of its activations": memory.samples * memory.backward,
    }


def ratios_of(figure: str) -> dict[tuple[str, str], dict[int | None, float]]:
    """(network, other) -> side in pixels, or None where none is named -> percent."""
    pairs: dict[tuple[str, str], dict[int | None, float]] = {}
    for ratio in published.RATIOS:
        if ratio.figure == figure:
            pairs.setdefault((ratio.network, ratio.against), {})[ratio.side] = ratio.percent
    return pairs


def percent(ours: Macs, other: Macs) -> tuple[float, float]:
    """Of the other's MACs, with and without the products of attention."""
    return 100 * ours.total / other.total, 100 * ours.linear / other.linear


def paper_macs(name: str, side: int, frames: int) -> float | None:
    """The G MACs that a paper prints for a network at a size."""
    figures = {n.name: n.macs for n in published.NETWORKS}
    return figures.get(name, {}).get(side) if frames == 1 else None


def printed(name: str, sides: Sequence[int], frames: int) -> plots.Curve:
    """The points that a paper prints."""
    points = [(side, figure) for side in sides if (figure := paper_macs(name, side, frames)) is not None]
    return [side for side, _ in points], [figure for _, figure in points]


def significant(value: float) -> float:
    """Five digits."""
    return float(f"{value:.5g}")
