"""What single attentions move through a TPU's main memory, by each `model.attention`; of a TPU that need not be there.

    python -m benchmarks.attention_traffic [--topology v5e:2x2] [--only 64x64,18432to1152] [--attention pallas,einsum]

Output and gradients of XL's 16 heads of 72 features, one sample, bfloat16, as projections leave and take them; compiled
by libtpu (requirements-tpu.txt) and read as `python -m ptdit_jax.plan` reads a step: FLOPs with the padding that a
kernel computes, operands as often as its blocks read them, and nothing for what the compiler keeps in on-chip memory.
Kernels of long rows compile for minutes on a busy machine; a row is printed as soon as it is there.
"""

import argparse
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from ptdit_jax import cli
from ptdit_jax.models.attention import choice
from ptdit_jax.models.attention.seam import attend
from ptdit_jax.models.window import shifted_window_regions, windowing
from ptdit_jax.parallel import topology
from ptdit_jax.plan import hlo, hlo_cost
from ptdit_jax.text_tables import table

HEADS, WIDTH = 16, 72
MIB = 2**20
Shape = tuple[int, ...]
# Grid and window of shifted windows; queries and keys.
WINDOWS = {
    "64x64": ("64 shifted windows of 64 tokens (1024 px)", (1, 64, 64), (1, 8, 8)),
    "64x256": ("64 shifted windows of 256 tokens (2048 px)", (1, 128, 128), (1, 16, 16)),
    "64x1024": ("64 shifted windows of 1,024 tokens (video)", (16, 64, 64), (4, 16, 16)),
}
TOKENS = {
    "4096to64": ("4,096 tokens to 64 proxies (1024 px)", 4096, 64),
    "18432to1152": ("18,432 tokens to 1,152 proxies (video)", 18_432, 1152),
}
ATTENTIONS = ("pallas", "splash", choice.EINSUM)
HEADER = ("output and gradients of one attention", "by", "GFLOP", "HBM traffic, MB", "temporaries, MiB")


def case_of(name: str) -> tuple[str, Shape, Shape, np.ndarray | None]:
    """A case's name for people, the shapes (1, ..., D) of q and of k and v, and the ids (m, n) of regions or None."""
    if name in TOKENS:
        title, queries, keys = TOKENS[name]
        return title, (1, queries, HEADS * WIDTH), (1, keys, HEADS * WIDTH), None
    title, grid, window = WINDOWS[name]
    layout = windowing(grid, window, None)
    regions = shifted_window_regions(layout)
    assert regions is not None
    shape = (1, layout.windows, layout.window_tokens, HEADS * WIDTH)
    return title, shape, shape, np.asarray(regions)


def step_of(implementation: str, regions: np.ndarray | None) -> Callable[..., tuple]:
    """(q, k, v, gradient of the output) -> the output and the gradients of q, k and v."""

    def attention(*projected: jax.Array) -> jax.Array:
        ids = None if regions is None else jnp.asarray(regions)
        q, k, v = (x.reshape(*x.shape[:-1], HEADS, WIDTH) for x in projected)
        return attend(q, k, v, regions=ids, implementation=implementation).reshape(projected[0].shape)

    def step(q: jax.Array, k: jax.Array, v: jax.Array, gradient: jax.Array) -> tuple:
        out, backward = jax.vjp(attention, q, k, v)
        return out, *backward(gradient)

    return step


def measure(name: str, implementation: str, place: SingleDeviceSharding) -> list[str]:
    """A row of the table."""
    title, of_q, of_k, regions = case_of(name)
    arrays = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place) for shape in (of_q, of_k, of_k, of_q)]
    compiled = jax.jit(step_of(implementation, regions)).lower(*arrays).compile()
    text, memory = compiled.as_text(), compiled.memory_analysis()
    assert text is not None
    assert memory is not None
    cost = hlo_cost.program_cost(hlo.parse(text))
    return [
        title,
        implementation,
        f"{cost.flops / 1e9:,.1f}",
        f"{cost.traffic / 1e6:,.1f}",
        f"{memory.temp_size_in_bytes / MIB:,.1f}",
    ]


def main(argv: list[str]) -> int:
    """Compile and print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*WINDOWS, *TOKENS]
    parser.add_argument(
        "--topology", default="v5e:2x2", help="of one kind of chip; one of them is compiled for"
    )
    parser.add_argument("--only", default=",".join(names), help="cases, by commas")
    parser.add_argument("--attention", default=",".join(ATTENTIONS), help="by commas")
    args = parser.parse_args(argv)
    cases, attentions = args.only.split(","), args.attention.split(",")
    for flag, given, known in (("only", cases, names), ("attention", attentions, ATTENTIONS)):
        if unknown := [each for each in given if each not in known]:
            parser.error(f"--{flag}={unknown[0]} must be of {', '.join(known)}")
    place = SingleDeviceSharding(topology.devices(topology.parse(args.topology))[0])
    rows = []
    for name in cases:
        for implementation in attentions:
            rows.append(measure(name, implementation, place))
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    print(table(HEADER, rows))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(sys.argv[1:]), platforms="cpu"))
