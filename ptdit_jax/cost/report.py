"""The tables of `python -m ptdit_jax.cost`, in Markdown, and the same in plain numbers."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from configs import common
from ptdit_jax import config as rules
from ptdit_jax.cost import published
from ptdit_jax.cost.memory import ERROR, Memory
from ptdit_jax.models import Architecture, complexity
from ptdit_jax.models.complexity import Macs
from ptdit_jax.models.window import Windowing
from ptdit_jax.parallel.chips import GIB
from ptdit_jax.text_tables import table, triple

NEAR = 5.0  # percent; what differs more from its paper is listed


@dataclasses.dataclass(frozen=True)
class Size:
    """One size of input: (height, width) in pixels, latent frames, the layout of tokens, MACs by part, memory."""

    pixels: tuple[int, int]
    frames: int
    layout: Windowing
    parts: dict[str, Macs]
    memory: Memory | None = None


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
PARTS_NOTE = (
    "With the products of attention.  full: global self-attention; text: cross-attention to the text."
)
SHARES_NOTE = """\
Eq. 4: the estimate.  text, class: counted, the mean over the blocks of those models; the second have shifted windows
in every other block.  The paper cuts to one decimal.  At 2048 px it prints N = 16348, which is 16384, and 2.3%, which
is Eq. 4 at (1, 8, 8), 2.368%, not at the (1, 16, 16) it names."""


def config_report(cost: Cost, policies: Mapping[str, Memory]) -> str:
    """One network by parts at each size, and the memory of its training step.

    Args:
      cost: of the config, with memory.
      policies: remat policy -> the memory at the first size.
    """
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
        lines += [
            f"{pixels(size)} px, {size.frames} latent frame(s): {tokens(size):,} tokens, "
            f"{size.layout.windows:,} window(s) of {triple(size.layout.window)}",
            table([name, "linear", "attention", "both", "share"], rows),
        ]
    lines += ["## Attention products of a block", equations_table([cost]), EQUATIONS_NOTE]
    lines += ["## Memory of a training step", memory_table(cost), MEMORY_NOTE]
    return "\n\n".join([*lines, policies_table(policies, cost)])


def configs_report(costs: Sequence[Cost]) -> str:
    """A row for each config and size."""
    rows = []
    for cost, size in ((c, s) for c in costs for s in c.sizes):
        macs, memory = complexity.total(size.parts), size.memory
        assert memory is not None
        rows.append(
            [
                cost.name,
                f"{cost.arch.family} {cost.arch.depth} x {cost.arch.width}",
                f"{pixels(size)} x {size.frames}",
                f"{tokens(size):,}",
                f"{cost.parameters:,}",
                amount(macs.total),
                amount(macs.linear),
                gib(memory.state),
                gib(memory.per_sample),
                memory.remat,
                str(memory.samples),
                gib(memory.total),
            ]
        )
    header = [
        "config",
        "network",
        "px x frames",
        "tokens",
        "parameters",
        "G MACs",
        "linear",
        "state",
        "a sample",
    ]
    sizes = [(f"{cost.name} {pixels(size)}", size) for cost in costs for size in cost.sizes]
    sections = [
        table([*header, "remat", "samples", "GiB"], rows),
        CONFIGS_NOTE,
        "## By part, G",
        parts_table(sizes),
        PARTS_NOTE,
        "## Attention products of a block",
        equations_table(costs),
        EQUATIONS_NOTE,
    ]
    return "\n\n".join(sections)


CONFIGS_NOTE = """\
G MACs: of one forward pass of one sample; linear: without the two products of each attention.  state, a sample and
GiB: memory of one device that holds the whole network: between steps, for each sample of a micro-batch, in all."""
EQUATIONS_NOTE = """\
G MACs of q·kᵀ and weights·v.  Eq. 3 is global self-attention, Eq. 4 proxies, injection, windows and shifted windows in
one block.  counted: those of the network, padded tokens included, the mean over its blocks, without the text's."""
MEMORY_NOTE = f"""\
One device that holds the whole network.  kept: what differentiation takes from the forward to the backward pass under
the config's remat policy, by the part that made it; stream: block inputs, norms, modulation and sums; ends: embeddings,
final layer and loss.  again: of the one block whose backward pass runs, where remat has it computed again.  gradients
of one block's: of that block's activations, taken to be as large as they are.  XLA's own figure for small networks of
six blocks differed from the sum by up to {ERROR}%, docs/cost.md."""


def equations_table(costs: Sequence[Cost]) -> str:
    """Eq. 3 and Eq. 4 beside the count, for each network and size."""
    rows = []
    for cost, size in ((c, s) for c in costs for s in c.sizes):
        eq3, eq4, counted = equations(cost, size)
        rows.append(
            [
                cost.name,
                f"{pixels(size)} x {size.frames}",
                f"{tokens(size):,}",
                triple(size.layout.window) if eq4 else "",
                digits(eq3 / 1e9),
                digits(eq4 / 1e9) if eq4 else "",
                digits(counted / 1e9),
                difference(counted, eq4 or eq3),
                f"{counted / eq3:.1%}",
            ]
        )
    header = ["", "px x frames", "N", "ratio", "Eq. 3", "Eq. 4", "counted", "to Eq. 4 (3)", "of Eq. 3"]
    return table(header, rows)


def equations(cost: Cost, size: Size) -> tuple[float, float | None, float]:
    """MACs of a block's attention products: Eq. 3, Eq. 4 (None without proxies), and the mean of those counted."""
    arch, grid = cost.arch, tokens(size)
    counted = sum(macs.attention for part, macs in size.parts.items() if part != "text") / arch.depth
    eq4 = float(complexity.proxy_attention(grid, arch.width, size.layout.window)) if arch.giim else None
    return complexity.full_attention(grid, arch.width), eq4, counted


def memory_table(cost: Cost) -> str:
    """What lies in memory, a column a size."""
    memories = [size.memory for size in cost.sizes if size.memory]
    parts = list(dict.fromkeys(part for m in memories for part in (*m.saved, *m.recomputed)))
    uses: list[tuple[str, Callable[[Memory], int]]] = [
        ("parameters", lambda m: m.parameters),
        ("averages", lambda m: m.averages),
        ("moments of AdamW", lambda m: m.moments),
        ("gradients", lambda m: m.gradients),
        ("kept: weights, masks", lambda m: m.weights),
        *((f"kept: {part}", lambda m, p=part: m.samples * m.saved.get(p, 0)) for part in parts),
        *((f"again: {part}", lambda m, p=part: m.samples * m.recomputed.get(p, 0)) for part in parts),
        ("gradients of one block's", lambda m: m.samples * m.backward),
        ("in all", lambda m: m.total),
    ]
    rows = [[name, *(gib(use(m)) for m in memories)] for name, use in uses if any(map(use, memories))]
    header = [f"GiB, {memories[0].samples} sample(s), remat {memories[0].remat}"]
    return table([*header, *(f"{pixels(size)} x {size.frames}" for size in cost.sizes)], rows)


def policies_table(policies: Mapping[str, Memory], cost: Cost) -> str:
    """What each remat policy keeps."""
    rows = [
        [
            policy,
            gib(sum(m.saved.values())),
            gib(sum(m.recomputed.values()) + m.backward),
            gib(m.offloaded),
            gib(m.weights),
            gib(m.total),
        ]
        for policy, m in policies.items()
    ]
    size = cost.sizes[0]
    header = [
        f"remat, {pixels(size)} x {size.frames}",
        "kept a sample",
        "of one block a sample",
        "on the host a sample",
    ]
    return table([*header, "kept of weights", "GiB in all"], rows)


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
                "block_attention": dict(zip(("equation_3", "equation_4", "counted"), equations(cost, size))),
                "memory": size.memory and dataclasses.asdict(size.memory) | {"total": size.memory.total},
            }
            for size in cost.sizes
        ],
    }


def pixels(size: Size) -> str:
    """Width x height."""
    return f"{size.pixels[1]}x{size.pixels[0]}"


def gib(count: int) -> str:
    """Bytes in GiB, nothing for none."""
    return digits(count / GIB) if count else ""


def digits(value: float) -> str:
    """Two decimals, or two digits of what is less than one."""
    return f"{value:,.2f}" if value >= 1 else f"{value:.2g}"


def tokens(size: Size) -> int:
    """N, without padding."""
    return math.prod(size.layout.grid)


def amount(macs: int, unit: float = 1e9) -> str:
    """In G unless told, nothing for none."""
    return f"{macs / unit:,.2f}" if macs else ""


def difference(ours: float, paper: float | None) -> str:
    """Ours against the paper's, in percent."""
    return f"{ours / paper - 1:+z.1%}" if paper else ""
