"""The published networks beside what their papers print, as the text of `python -m ptdit_jax.cost`."""

import math
from collections.abc import Iterator, Sequence

from configs import common
from ptdit_jax import config as rules
from ptdit_jax.cost import published
from ptdit_jax.cost.count import Cost, equations, paper_macs
from ptdit_jax.cost.report import PARTS_NOTE, difference, giga, parts_table
from ptdit_jax.models import complexity
from ptdit_jax.models.window import Windowing
from ptdit_jax.text_tables import table, triple

NEAR = 5.0  # percent; what differs more from its paper is listed


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
        ("Attention products of a block, Eq. 4 over Eq. 3", share_table(costs, resolutions), SHARES_NOTE),
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


SHARES_NOTE = """\
Eq. 4: the estimate.  text, class: counted, the mean over the blocks of those models; the second have shifted windows
in every other block.  The paper cuts to one decimal.  At 2048 px it prints N = 16348, which is 16384, and 2.3%, which
is Eq. 4 at (1, 8, 8), 2.368%, not at the (1, 16, 16) it names."""


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
                    f"{size.tokens:,}",
                    f"{paper:,g}" if paper else "",
                    giga(macs.total),
                    difference(macs.total / 1e9, paper),
                    giga(macs.linear),
                    difference(macs.linear / 1e9, paper),
                ]
            )
    return table(["G", "px", "ratio", "tokens", "paper", "MACs", "", "linear", ""], rows)


def share_table(costs: Sequence[Cost], sides: Sequence[int]) -> str:
    """Eq. 4 over Eq. 3 for square images at the default ratios, beside what the networks have."""
    counted = {cost.arch.shift_every: cost for cost in costs if cost.arch.giim}  # the width cancels
    rows = []
    for place, (side, share) in enumerate(attention_shares(sides).items()):
        layout, paper = square_layout(side), published.ATTENTION_SHARES.get(side)
        exact = [equations(counted[every], counted[every].sizes[place]) for every in (1, 2)]
        rows.append(
            [
                f"{side} px",
                f"{math.prod(layout.grid):,}",
                triple(layout.window),
                f"{share:.3f}%",
                *(f"{100 * count / eq3:.3f}%" for eq3, _, count in exact),
                f"{paper}%" if paper else "",
                difference(share, paper),
            ]
        )
    return table(["", "N", "ratio", "Eq. 4", "text", "class", "paper", "difference"], rows)


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
