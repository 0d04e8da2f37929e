"""PT-DiT/S-Class against DiT-S/2 on this machine: the paper's pair at equal parameters, both by this package.

    python -m benchmarks.speed_vs_dit [--tokens 16,32,64] [--repeats 9] [--remat dots] [--unroll 1] [--json FILE]

Both networks run in turn, so that what else the machine does meets both alike, the forward pass before the
backward one, whose memory it would otherwise have to be given back first; the table's ratios are those of the
fastest of `--repeats` calls, the medians stand beside.  Shapes: B latents of 4 x S x S, patch 2.
"""

import argparse
import json
import statistics
import sys
import time

import jax
import jax.numpy as jnp
from flax import nnx

from configs import common
from ptdit_jax import cli, files, models
from ptdit_jax.progress import Bar

# Tokens along a side -> window (Sec. 3.2.3 of arXiv 2409.04005) and batch: about the same number of tokens each.
CASES = {16: ((1, 2, 2), 8), 32: ((1, 4, 4), 2), 64: ((1, 8, 8), 1)}
NETWORKS = {"PT-DiT/S-Class": ("ptdit", "S-Class"), "DiT-S/2": ("dit", "S")}
# Speed over DiT-S/2 that this project asks of itself on a CPU of 2 cores: forward, forward and backward.
TARGETS = {16: (1.4, 1.6), 32: (2.0, 3.0), 64: (4.0, 8.0)}


def make(family: str, variant: str, remat: str, unroll: int) -> tuple[nnx.GraphDef, nnx.State]:
    """A network of random weights, split into its definition and its parameters."""
    model = common.get_config().model
    model.family, model.variant, model.remat, model.unroll = family, variant, remat, unroll
    network = models.create(model, window=(1, 2, 2), rngs=nnx.Rngs(0), learn_variance=True)
    graphdef, params = nnx.split(network, nnx.Param)
    # Zero-initialised parts would make most of the work multiply zeros.
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(0), len(leaves))
    noisy = [leaf + 0.02 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return graphdef, jax.tree.unflatten(tree, noisy)


def measure(side: int, repeats: int, remat: str, unroll: int, bar: Bar) -> list[dict]:
    """Times of both networks at `side` x `side` tokens: a row for forward, a row for forward and backward."""
    window, batch = CASES[side]
    x = jax.random.normal(jax.random.key(1), (batch, 4, 1, 2 * side, 2 * side))
    t, labels = jnp.full((batch,), 0.5), jnp.zeros((batch,), jnp.int32)
    calls: dict[str, dict[str, tuple]] = {"forward": {}, "forward+backward": {}}
    for name, (family, variant) in NETWORKS.items():
        graphdef, params = make(family, variant, remat, unroll)

        def forward(params, graphdef=graphdef):
            return nnx.merge(graphdef, params)(x, t, labels, window=window)

        def loss(params, forward=forward):
            return jnp.mean(forward(params) ** 2)

        calls["forward"][name] = (jax.jit(forward), params)
        calls["forward+backward"][name] = (jax.jit(jax.grad(loss)), params)
    rows = []
    for (mode, pair), target in zip(calls.items(), TARGETS[side], strict=True):
        times = {name: [] for name in pair}
        for function, params in pair.values():
            jax.block_until_ready(function(params))
        for _ in range(repeats):
            for name, (function, params) in pair.items():
                before = time.perf_counter()
                jax.block_until_ready(function(params))
                times[name].append(time.perf_counter() - before)
            bar.update()
        row = {"tokens": f"{side}x{side}", "window": window, "batch": batch, "pass": mode, "target": target}
        for name, seconds in times.items():
            row[name] = {"min_ms": 1e3 * min(seconds), "median_ms": 1e3 * statistics.median(seconds)}
        ours, theirs = (row[name] for name in NETWORKS)
        row["speed"] = theirs["min_ms"] / ours["min_ms"]
        row["speed_median"] = theirs["median_ms"] / ours["median_ms"]
        rows.append(row)
    return rows


def main(argv: list[str]) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokens", default="16,32,64", help="tokens along a side, of 16, 32, 64")
    parser.add_argument("--repeats", type=int, default=9, help="calls of each")
    parser.add_argument("--remat", default="dots", help="model.remat of both: dots is the fastest of both")
    parser.add_argument("--unroll", type=int, default=1, help="model.unroll of both: 1 = scan, 0 = no loop")
    parser.add_argument("--json", metavar="FILE", help="also write the rows here")
    args = parser.parse_args(argv)
    files.resolve(args, "json")
    if args.json is not None:
        files.check_file(args.json, "--json")
    sides = [int(side) for side in args.tokens.split(",")]
    if unknown := [side for side in sides if side not in CASES]:
        parser.error(f"--tokens {unknown[0]}: must be of {', '.join(map(str, CASES))}")
    device = f"{jax.devices()[0].device_kind} ({jax.default_backend()})"
    print(f"{device}, jax {jax.__version__}, remat {args.remat}, unroll {args.unroll}\n")
    print("| tokens | window | batch | pass | PT-DiT/S-Class ms | DiT-S/2 ms | speed | by medians | target |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    rows = []
    with Bar(2 * len(sides) * args.repeats, "measure", "round") as bar:
        for side in sides:
            for row in measure(side, args.repeats, args.remat, args.unroll, bar):
                rows.append(row)
                ours, theirs = (row[name]["min_ms"] for name in NETWORKS)
                bar.write(
                    f"| {row['tokens']} | {row['window']} | {row['batch']} | {row['pass']} | {ours:.0f} | "
                    f"{theirs:.0f} | {row['speed']:.2f}x | {row['speed_median']:.2f}x | {row['target']:.1f}x |"
                )
    if args.json:
        text = json.dumps(rows, indent=2) + "\n"
        files.write(args.json, lambda draft: draft.write_text(text))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(sys.argv[1:])))
