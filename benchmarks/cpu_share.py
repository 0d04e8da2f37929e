"""PT-DiT/S with text on this CPU: GFLOP/s, and their share of the matrix products that XLA reaches in the same run.

    python -m benchmarks.cpu_share [--latents 32,64,128] [--seconds 5] [--remat dots] [--unroll 1] [--small]

Latents of S x S are pictures of 8·S pixels, with the window of that size (Sec. 3.2.3 of arXiv 2409.04005); everything
is float32, as in training on a CPU.  FLOPs are those by which `train` tells its utilisation: two a multiply-accumulate
of the network's matrix products, the backward pass counted as two forward ones, and nothing for what `--remat`
computes again.  Times are medians.  The peak is the best of square products of several sizes, timed before all and
once more after; a peak that moved by more than a tenth says that the machine was not idle.  The last column is the
share if the network's own products, each timed by itself, were all that it did (`benchmarks.products`).

It uses the cores that the process may: `taskset -c 0,1` for two.  docs/speed.md has more.
"""

import argparse
import os
import sys
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import light_build
from benchmarks.light_table import table
from benchmarks.products import products_of, seconds_alone
from benchmarks.timing import matrix_peak, median_seconds
from configs import t2i_xl_256
from ptdit_jax.parallel import chips
from ptdit_jax.processes import environment

BATCHES = {32: 8, 64: 2, 128: 1}  # samples by latents: about the same number of tokens each
SIDES, SMALL_SIDES = (1024, 2048, 4096), (128, 256)  # of the matrices of the peak
SMALL = {"variant": "custom", "depth": 2, "width": 32, "heads": 4, "text_dim": 16, "text_length": 8}
HEADER = ("latents", "tokens", "window", "batch", "pass", "ms", "GFLOP/s", "of peak", "products alone")


def config_of(side: int, remat: str, unroll: int, small: bool) -> Any:
    """Text-conditional PT-DiT/S in float32 at `side` x `side` latents."""
    config = t2i_xl_256.get_config()
    fields = {
        "variant": "S",
        "compute_dtype": "float32",
        "attention_chunk": 0,
        "remat": remat,
        "unroll": unroll,
    }
    config.model.update(fields | (SMALL if small else {}))
    config.data.height = config.data.width = side
    return config


def measure(config: Any, batch: int, seconds: float) -> list[dict[str, Any]]:
    """FLOP/s of a forward pass, and of a forward and a backward one.

    Args:
      config: the whole config.
      batch: samples.
      seconds: of calls of each at least.

    Returns:
      For both passes: latents, tokens, window, batch, pass, ms, flops (of a call), flops_per_second, and alone, the
      FLOP/s of its products by themselves.
    """
    built = light_build.build(config, "cpu")
    params_key, batch_key = jax.random.split(jax.random.key(0))
    params = jax.jit(lambda key: light_build.random_params(built, key))(params_key)
    given = light_build.random_batch(built, batch_key, batch)
    t, keys = jnp.full(batch, 0.5), jax.random.split(jax.random.key(1), batch)

    def forward(params: Any, given: dict[str, jax.Array]) -> jax.Array:
        return built.network(params, given["x"], t, (given["text"], given["text_mask"]), keys)

    def loss(params: Any, given: dict[str, jax.Array]) -> jax.Array:
        return jnp.mean(forward(params, given) ** 2)

    rows = []
    for name, function, factor in (("forward", forward, 1), ("forward+backward", jax.grad(loss), 3)):
        compiled = jax.jit(function)
        jax.block_until_ready(compiled(params, given))
        median, _ = median_seconds(lambda compiled=compiled: compiled(params, given), seconds)
        flops = 2 * factor * built.macs * batch
        alone = seconds_alone(products_of(function, params, given), seconds / 50)
        grid, window = built.layout.grid, built.layout.window
        row = {"latents": config.data.height, "tokens": grid, "window": window, "batch": batch, "pass": name}
        speeds = {"flops_per_second": flops / median, "alone": flops / alone}
        rows.append(row | {"ms": 1e3 * median, "flops": flops, **speeds})
    return rows


def cells(row: dict[str, Any], peak: float) -> list[str]:
    """A row of the table, beside the FLOP/s of the peak."""
    speed = row["flops_per_second"]
    tokens = "x".join(map(str, row["tokens"][1:]))
    window = "x".join(map(str, row["window"]))
    text = [f"{row['latents']}x{row['latents']}", tokens, window, str(row["batch"]), row["pass"]]
    return [
        *text,
        f"{row['ms']:.1f}",
        f"{speed / 1e9:.1f}",
        f"{speed / peak:.1%}",
        f"{row['alone'] / peak:.1%}",
    ]


def main(argv: list[str]) -> int:
    """Measure and print the table.

    Raises:
      ValueError: the command or the environment is wrong.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument("--latents", default="32,64,128", help="latents along a side, of 32, 64, 128")
    parser.add_argument("--seconds", type=float, default=5, help="of calls of each pass at least")
    parser.add_argument("--remat", default="dots", help="model.remat: dots is the fastest on a CPU")
    parser.add_argument("--unroll", type=int, default=1, help="model.unroll: 1 = scan, 0 = no loop")
    parser.add_argument("--small", action="store_true", help="a tiny network and peak, to try the command")
    args = parser.parse_args(argv)
    sides = args.latents.split(",")
    if unknown := [side for side in sides if side not in map(str, BATCHES)]:
        raise ValueError(f"--latents {unknown[0]}: must be of {', '.join(map(str, BATCHES))}")
    for line in environment.pin("cpu"):
        print(f"warning: {line}", file=sys.stderr)
    device = environment.describe(environment.devices()[:1], chips.host_memory())
    print(
        f"{device}, {len(os.sched_getaffinity(0))} cores, jax {jax.__version__}, remat {args.remat}",
        flush=True,
    )
    peak_sides = SMALL_SIDES if args.small else SIDES
    before = max(matrix_peak("float32", peak_sides, args.seconds / 5).values())
    rows = []
    for side in map(int, sides):
        config = config_of(side, args.remat, args.unroll, args.small)
        rows += measure(config, BATCHES[side], args.seconds)
        print(f"{side}x{side} latents: measured", file=sys.stderr, flush=True)
    after = max(matrix_peak("float32", peak_sides, args.seconds / 5).values())
    peak = max(before, after)
    print(f"peak of float32 products: {before / 1e9:.1f} GFLOP/s before, {after / 1e9:.1f} after\n")
    print(table(HEADER, [cells(row, peak) for row in rows]))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
