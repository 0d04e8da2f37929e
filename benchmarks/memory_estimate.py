"""The memory of a training step as `python -m ptdit_jax.cost` estimates it, beside what a compiler allots.

    python -m benchmarks.memory_estimate [--topology v5e:2x2]

Small networks of 64-dimensional tokens under every remat policy, at two depths and three sizes: compiled for a CPU, or
for a chip of a TPU that need not be there (with libtpu, see `ptdit_jax.plan`).  Nothing runs.
"""

import argparse
import itertools
import sys

import jax

from configs import common
from ptdit_jax import cli
from ptdit_jax.cost import memory as cost_memory
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import compile_step, make_program
from ptdit_jax.parallel import topology
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.progress import track
from ptdit_jax.text_tables import table

POLICIES = ("none", "dots", "attention", "block")
DEPTHS = (2, 6)
SIDES = (16, 32, 64)  # of the latents, in patches of two: 64, 256 and 1,024 tokens
WIDTH, HEADS, BATCH = 64, 4, 8


def main(name: str) -> int:
    """Compile all for a topology and print the table; returns the exit code."""
    devices = topology.devices(topology.parse(name))[:1]
    rows, gaps = [], []
    cases = list(itertools.product(POLICIES, DEPTHS, SIDES))
    for remat, depth, side in track(cases, len(cases), "compile", "network"):
        config = common.get_config()
        sizes = {"variant": "custom", "depth": depth, "width": WIDTH, "heads": HEADS, "classes": 10}
        config.model.update({"remat": remat, **sizes})
        config.data.update({"height": side, "width": side, "batch": BATCH})
        mesh = make_mesh(config.mesh, devices)
        _, allotted = compile_step(make_program(config, build(config, mesh=mesh), mesh))
        needed = allotted.total - allotted.code
        estimate = cost_memory.measure(config).total
        gaps.append(100 * (needed / estimate - 1))
        figures = [f"{estimate / 1e6:.1f}", f"{needed / 1e6:.1f}", f"{gaps[-1]:+.0f}%"]
        rows.append([remat, str(depth), f"{side * side // 4:,}", *figures])
    print(f"jax {jax.__version__}, {name}, batch {BATCH}, width {WIDTH}\n")
    print(
        table(["remat", "blocks", "tokens", "estimate, MB", "compiler, MB", "compiler over estimate"], rows)
    )
    print(f"\nfrom {min(gaps):+.0f}% to {max(gaps):+.0f}%")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topology", default="cpu:1", help="what to compile for (default: a CPU)")
    options = parser.parse_args()
    sys.exit(cli.run(lambda: main(options.topology)))
