"""The tables of `python -m ptdit_jax.cost`, in Markdown, and the same in plain numbers."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from configs import common
from ptdit_jax import complexity, published
from ptdit_jax import config as rules
from ptdit_jax.complexity import Macs
from ptdit_jax.models import Architecture
from ptdit_jax.models.window import Windowing

NEAR = 5.0  # percent; what differs more from its paper is listed


@dataclasses.dataclass(frozen=True)
class Size:
    """One size of input: (height, width) in pixels, latent frames, the layout of tokens, MACs by part."""

    pixels: tuple[int, int]
    frames: int
    layout: Windowing
    parts: dict[str, Macs]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one network costs, and what its paper says."""

    name: str
    arch: Architecture
    text_tokens: int
    parameters: int
    sizes: list[Size]
    paper: published.Published | None


def published_report(costs: Sequence[Cost], resolutions: Sequence[int]) -> str:
    """Every table of the published networks, each with what it needs said."""
    far = [
        f"{what} {difference(ours, paper)}"
        for what, ours, paper in comparisons(costs, resolutions)
        if abs(ours / paper - 1) > NEAR / 100
    ]
    sections = [
        ("Parameters", parameter_table(costs), PARAMETERS_NOTE),
        ("Multiply-accumulates of one forward pass", macs_table(costs), COUNTERS_NOTE),
        (
            f"By part, G at {resolutions[0]} px",
            parts_table([(c.name, c.sizes[0]) for c in costs]),
            PARTS_NOTE,
        ),
        ("Attention products of a block, Eq. 4 over Eq. 3", share_table(resolutions), SHARES_NOTE),
        (f"More than {NEAR:g}% from the paper", "; ".join(far) or "nothing", ""),
    ]
    return "\n\n".join("\n\n".join(filter(None, (f"## {title}", *body))) for title, *body in sections)


PARAMETERS_NOTE = """\
Channels: latents to outputs.  Class models learn the variance (DiT's recipe); text models have the 8 outputs
of the release.  Depth and width of B-Class and L-Class are inferred from their costs."""
COUNTERS_NOTE = """\
MACs: all matrix products.  linear: without the two of each attention (q·kᵀ and weights·v), as counted where
attention is one fused operation.  Right of each its difference from the paper's "GFLOPs", which are MACs with
the products of attention: DiT's fit only so."""
PARTS_NOTE = (
    "With the products of attention.  full: global self-attention; text: cross-attention to the text."
)
SHARES_NOTE = """\
The paper cuts to one decimal.  At 2048 px it prints N = 16348, which is 16384, and 2.3%, which is Eq. 4 at
(1, 8, 8), 2.368%, not at the (1, 16, 16) it names."""


def config_report(cost: Cost) -> str:
    """The parts of one network at each size."""
    arch = cost.arch
    lines = [
        f"{arch.family}: {arch.depth} blocks of width {arch.width}, {arch.heads} heads, condition "
        f"{arch.condition}, channels {arch.channels} to {arch.out_channels}, {cost.parameters:,} parameters"
    ]
    for size in cost.sizes:
        whole = complexity.total(size.parts)
        unit, name = (1e9, "G MACs") if whole.total >= 1e10 else (1e6, "M MACs")
        rows = [
            [part, amount(m.linear, unit), amount(m.attention, unit), amount(m.total, unit), share]
            for part, m in [*size.parts.items(), ("all", whole)]
            if m.total and (share := f"{m.total / whole.total:.1%}")
        ]
        height, width = size.pixels
        lines += [
            f"{width}x{height} px, {size.frames} latent frame(s): {tokens(size):,} tokens, "
            f"{size.layout.windows:,} window(s) of {triple(size.layout.window)}",
            table([name, "linear", "attention", "both", "share"], rows),
        ]
    return "\n\n".join(lines)


def parameter_table(costs: Sequence[Cost]) -> str:
    """Sizes and parameters."""
    rows = []
    for cost in costs:
        arch, paper = cost.arch, cost.paper and cost.paper.parameters
        rows.append(
            [
                cost.name,
                f"{arch.depth} x {arch.width}",
                str(arch.heads),
                arch.condition,
                f"{arch.channels} to {arch.out_channels}",
                f"{cost.parameters:,}",
                f"{paper:,g} M" if paper else "",
                difference(cost.parameters / 1e6, paper),
            ]
        )
    return table(["model", "blocks", "heads", "condition", "channels", "ours", "paper", "difference"], rows)


def macs_table(costs: Sequence[Cost]) -> str:
    """MACs at every resolution under both counters, each beside its difference from the paper."""
    rows = []
    for cost in costs:
        for size in cost.sizes:
            macs, paper = complexity.total(size.parts), paper_macs(cost, size)
            rows.append(
                [
                    cost.name,
                    str(size.pixels[0]),
                    triple(size.layout.window) if cost.arch.giim else "",
                    f"{tokens(size):,}",
                    f"{paper:,g}" if paper else "",
                    amount(macs.total),
                    difference(macs.total / 1e9, paper),
                    amount(macs.linear),
                    difference(macs.linear / 1e9, paper),
                ]
            )
    return table(["G", "px", "ratio", "tokens", "paper", "MACs", "", "linear", ""], rows)


def parts_table(sizes: Sequence[tuple[str, Size]]) -> str:
    """MACs of every part that one of the networks has."""
    parts = [part for part in complexity.PARTS if any(size.parts[part].total for _, size in sizes)]
    rows = [[name, *(amount(size.parts[part].total) for part in parts)] for name, size in sizes]
    return table(["model", *parts], rows)


def share_table(sides: Sequence[int]) -> str:
    """Eq. 4 over Eq. 3 for square images at the default ratios."""
    rows = []
    for side, share in attention_shares(sides).items():
        layout, paper = square_layout(side), published.ATTENTION_SHARES.get(side)
        rows.append(
            [
                f"{side} px",
                f"{math.prod(layout.grid):,}",
                triple(layout.window),
                f"{share:.3f}%",
                f"{paper}%" if paper else "",
                difference(share, paper),
            ]
        )
    return table(["", "N", "ratio", "share", "paper", "difference"], rows)


def attention_shares(sides: Sequence[int]) -> dict[int, float]:
    """Eq. 4 over Eq. 3 in percent, for square images at the default ratios."""
    layouts = {side: square_layout(side) for side in sides}
    return {
        side: 100 * float(complexity.attention_share(math.prod(layout.grid), layout.window))
        for side, layout in layouts.items()
    }


def square_layout(side: int) -> Windowing:
    """The layout of a square image under the default config."""
    config = common.get_config()
    latent = side // config.data.pixels_per_latent
    return rules.layout(config, height=latent, width=latent)[1]


def comparisons(costs: Sequence[Cost], sides: Sequence[int]) -> Iterator[tuple[str, float, float]]:
    """(what, ours, the paper's) for every figure the papers print."""
    for cost in costs:
        if cost.paper and cost.paper.parameters:
            yield f"{cost.name} parameters", cost.parameters / 1e6, cost.paper.parameters
        for size in cost.sizes:
            if paper := paper_macs(cost, size):
                yield (
                    f"{cost.name} MACs at {size.pixels[0]} px",
                    complexity.total(size.parts).total / 1e9,
                    paper,
                )
    for side, share in attention_shares(sides).items():
        if paper := published.ATTENTION_SHARES.get(side):
            yield f"Eq. 4 at {side} px", share, paper


def paper_macs(cost: Cost, size: Size) -> float | None:
    """The paper's figure in G at this size, if it prints one."""
    return cost.paper.macs.get(size.pixels[0]) if cost.paper else None


def as_json(cost: Cost) -> dict[str, Any]:
    """Everything there is, in plain numbers."""
    arch, paper = cost.arch, cost.paper
    return {
        "name": cost.name,
        "family": arch.family,
        "blocks": arch.depth,
        "width": arch.width,
        "heads": arch.heads,
        "condition": arch.condition,
        "text_tokens": cost.text_tokens if arch.condition == "text" else 0,
        "out_channels": arch.out_channels,
        "parameters": cost.parameters,
        "paper_parameters": paper and paper.parameters and round(paper.parameters * 1e6),
        "sizes": [
            {
                "pixels": size.pixels,
                "frames": size.frames,
                "tokens": tokens(size),
                "window": size.layout.window,
                "proxies": size.layout.proxies if arch.giim else 0,
                "macs": complexity.total(size.parts).total,
                "macs_without_attention": complexity.total(size.parts).linear,
                "paper_macs": (figure := paper_macs(cost, size)) and round(figure * 1e9),
                "parts": {part: dataclasses.asdict(macs) for part, macs in size.parts.items()},
            }
            for size in cost.sizes
        ],
    }


def tokens(size: Size) -> int:
    """N, without padding."""
    return math.prod(size.layout.grid)


def amount(macs: int, unit: float = 1e9) -> str:
    """In G unless told, nothing for none."""
    return f"{macs / unit:,.2f}" if macs else ""


def triple(ratio: Sequence[int]) -> str:
    """(1, 2, 2) as 1x2x2."""
    return "x".join(map(str, ratio))


def difference(ours: float, paper: float | None) -> str:
    """Ours against the paper's, in percent."""
    return f"{ours / paper - 1:+z.1%}" if paper else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        for row in (header, *rows)
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], rule, *lines[1:]))
