"""One config or several, as the text of `python -m ptdit_jax.cost`: MACs by part, attention, memory, in Markdown."""

from collections.abc import Callable, Mapping, Sequence

from ptdit_jax import text_tables
from ptdit_jax.cost.count import Cost, Size, equations
from ptdit_jax.cost.memory import ERROR, Memory
from ptdit_jax.models import complexity
from ptdit_jax.text_tables import amount, table, triple

PARTS_NOTE = (
    "With the products of attention.  full: global self-attention; text: cross-attention to the text."
)


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
            [part, giga(m.linear, unit), giga(m.attention, unit), giga(m.total, unit), share]
            for part, m in [*size.parts.items(), ("all", whole)]
            if m.total and (share := f"{m.total / whole.total:.1%}")
        ]
        lines += [
            f"{pixels(size)} px, {size.frames} latent frame(s): {size.tokens:,} tokens, "
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
                f"{size.tokens:,}",
                f"{cost.parameters:,}",
                giga(macs.total),
                giga(macs.linear),
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
                f"{size.tokens:,}",
                triple(size.layout.window) if eq4 else "",
                amount(eq3 / 1e9),
                amount(eq4 / 1e9) if eq4 else "",
                amount(counted / 1e9),
                difference(counted, eq4 or eq3),
                f"{counted / eq3:.1%}",
            ]
        )
    header = ["", "px x frames", "N", "ratio", "Eq. 3", "Eq. 4", "counted", "to Eq. 4 (3)", "of Eq. 3"]
    return table(header, rows)


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


def parts_table(sizes: Sequence[tuple[str, Size]]) -> str:
    """MACs of every part that one of the networks has."""
    parts = [part for part in complexity.PARTS if any(size.parts[part].total for _, size in sizes)]
    rows = [[name, *(giga(size.parts[part].total) for part in parts)] for name, size in sizes]
    return table(["model", *parts], rows)


def pixels(size: Size) -> str:
    """Width x height."""
    return f"{size.pixels[1]}x{size.pixels[0]}"


def gib(count: int) -> str:
    """Bytes in GiB, nothing for none."""
    return text_tables.gib(count) if count else ""


def giga(macs: int, unit: float = 1e9) -> str:
    """In G unless told, nothing for none."""
    return f"{macs / unit:,.2f}" if macs else ""


def difference(ours: float, paper: float | None) -> str:
    """Ours against the paper's, in percent."""
    return f"{ours / paper - 1:+z.1%}" if paper else ""
