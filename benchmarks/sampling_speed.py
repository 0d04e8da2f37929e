"""One picture at a time: a guided step of PT-DiT beside full attention of its size and the exported PyTorch module.

    python -m benchmarks.sampling_speed [--tokens 16,32,64] [--rounds 5] [--unroll 0] [--processor-time] [--json FILE]

At batch 1, condition and null condition together: the step that `ptdit_jax.sample` compiles, of PT-DiT/S-Class and of
DiT-S/2, and the module of an exported folder (`ptdit_jax/convert/export`) in PyTorch, with random weights of the same
shapes.  In each of `--rounds` all three do one step of Euler, so that what else the machine does meets all alike; a
time is the least of them, a ratio one of these times.  All use the cores that the process may: `taskset -c 0` for one.
With `--processor-time` a time is that of the process, for a machine that is not idle; use one core then.  "products
alone" are PT-DiT's own matrix products, each timed by itself by the clock (`benchmarks.products`).
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.products import products_of, seconds_alone
from configs import common
from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.convert import parity
from ptdit_jax.convert.export import modeling_ptdit
from ptdit_jax.experiment import generate
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.processes import environment
from ptdit_jax.progress import Bar
from ptdit_jax.text_tables import table

WINDOWS = {16: (1, 2, 2), 32: (1, 4, 4), 64: (1, 8, 8)}  # tokens along a side -> window (Sec. 3.2.3)
OURS, FULL, TORCH = NAMES = ("PT-DiT/S-Class", "DiT-S/2", "PT-DiT/S-Class, PyTorch")
FAMILIES = {OURS: ("ptdit", "S-Class"), FULL: ("dit", "S")}
ASKED = {FULL: 1.0, TORCH: 1.5}  # speed over these that the project asks of itself
LABEL, SCALE = 207, 4.0
PRODUCT_SECONDS = 0.1  # of calls of one product
Step = Callable[[], None]


def config_of(name: str, side: int, unroll: int) -> Any:
    """The config of a network at `side` x `side` tokens."""
    config = common.get_config()
    config.model.family, config.model.variant = FAMILIES[name]
    config.model.unroll = unroll
    config.data.height = config.data.width = 2 * side
    config.compression.fixed = WINDOWS[side]
    config.sampling.guidance = SCALE
    config.sampling.batch = 1
    rules.validate(config, check_data=False)
    return config


def ours(config: Any) -> tuple[Step, float]:
    """A step of Euler, again and again from the same noise, and the seconds that it took to compile."""
    mesh = make_mesh({"data": 1}, environment.devices()[:1])
    experiment = build(config, mesh=mesh)
    params = jax.jit(experiment.init)(jax.random.key(0))
    # Zero-initialised parts would make most of the work multiply zeros.
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + 0.02 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    params = jax.tree.unflatten(tree, noisy)
    steps = Steps(experiment, config.sampling, mesh, count=1)
    labels = np.array([LABEL], np.int32)
    given = jax.device_put(generate.Wanted(labels).given(np.arange(1), experiment), steps.place)
    keys = steps.place_keys(jax.random.key_data(generate.sample_keys(0, labels, experiment.prng)))
    before = time.perf_counter()
    step = steps.step(params, keys, given, SCALE)
    seconds = time.perf_counter() - before
    state = steps.start(keys)

    def call() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state, 0, steps.rows[0]))

    return call, seconds


def products_seconds(config: Any) -> float:
    """Seconds of the matrix products of that step, each by itself."""
    experiment = build(config, mesh=make_mesh({"data": 1}, environment.devices()[:1]))
    both = np.array([LABEL, config.model.classes], np.int32)

    def network(params: Any, x: jax.Array, keys: jax.Array) -> jax.Array:
        return experiment.network(params, x, jnp.full(len(both), 0.5), jnp.asarray(both), keys)

    params = jax.eval_shape(experiment.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((len(both), *experiment.shape), np.float32)
    keys = jax.eval_shape(lambda: generate.sample_keys(0, both, experiment.prng))
    return seconds_alone(products_of(network, params, x, keys), PRODUCT_SECONDS)


def exported(config: Any) -> Step:
    """The same step by the module of an exported folder."""
    arch = parity.torch_architecture(rules.architecture(config), 1)
    module = modeling_ptdit.PTDiT(arch).eval()
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    x = torch.randn(1, config.model.channels, 1, config.data.height, config.data.width)
    t, labels = torch.full((2,), 0.5), torch.tensor([LABEL, config.model.classes])
    window = tuple(config.compression.fixed)

    @torch.no_grad()
    def call() -> None:
        conditional, null = module(torch.cat([x, x]), t, labels, window=window).chunk(2)
        x.add_(conditional + (SCALE - 1) * (conditional - null), alpha=1 / config.sampling.steps)
        x.div_(x.std())  # random weights would let it grow

    return call


def measure(side: int, rounds: int, unroll: int, clock: Callable[[], float], bar: Bar) -> dict[str, Any]:
    """Seconds of a step of each at `side` x `side` tokens, the least and the median of the rounds."""
    calls: dict[str, Step] = {}
    compiled = {}
    for name in FAMILIES:
        calls[name], compiled[name] = ours(config_of(name, side, unroll))
    calls[TORCH] = exported(config_of(OURS, side, unroll))
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            before = clock()
            call()
            times[name].append(clock() - before)
        bar.update()
    least = {name: min(seconds) for name, seconds in times.items()}
    medians = {name: float(np.median(seconds)) for name, seconds in times.items()}
    alone = products_seconds(config_of(OURS, side, unroll))
    found = {"side": side, "seconds": least, "median_seconds": medians}
    return found | {"compile_seconds": compiled, "products_seconds": alone}


def row_of(found: dict[str, Any]) -> list[str]:
    """A row of the table."""
    least, medians = found["seconds"], found["median_seconds"]
    cells = [f"{found['side']}x{found['side']}", *(f"{1e3 * least[name]:.0f}" for name in NAMES)]
    for name, asked in ASKED.items():
        ratio, median = (seconds[name] / seconds[OURS] for seconds in (least, medians))
        cells.append(f"{ratio:.2f}x, {median:.2f}x (over {asked:g})")
    cells.append(f"{1e3 * found['products_seconds']:.0f}")
    steps = common.get_config().sampling.steps
    return [*cells, f"{steps * least[OURS]:.1f}", f"{found['compile_seconds'][OURS]:.0f}"]


def main(argv: list[str]) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokens", default="16,32,64", help="tokens along a side, of 16, 32, 64")
    parser.add_argument("--rounds", type=int, default=5, help="steps of each")
    parser.add_argument("--unroll", type=int, default=0, help="model.unroll of both: 0 = no loop, 1 = scan")
    parser.add_argument("--processor-time", action="store_true", help="of the process, not the clock's")
    parser.add_argument("--json", metavar="FILE", help="also write the figures here")
    args = parser.parse_args(argv)
    files.resolve(args, "json")
    if args.json is not None:
        files.check_file(args.json, "--json")
    sides = [int(side) for side in args.tokens.split(",")]
    if unknown := [side for side in sides if side not in WINDOWS]:
        parser.error(f"--tokens {unknown[0]}: must be of {', '.join(map(str, WINDOWS))}")
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores)
    clock = time.process_time if args.processor_time else time.perf_counter
    with Bar(len(sides) * args.rounds, "measure", "round") as bar:
        found = [measure(side, args.rounds, args.unroll, clock, bar) for side in sides]
    device = environment.describe(environment.devices(), chips.host_memory())
    kind = "processor time" if args.processor_time else "time"
    print(
        f"\n{device}, {cores} of the cores, jax {jax.__version__}, torch {torch.__version__}, unroll {args.unroll}"
    )
    print(f"A guided step at batch 1, ms of {kind}; speeds by the least and by the median times\n")
    steps = common.get_config().sampling.steps
    header = [
        "tokens",
        *NAMES,
        *(f"over {name}" for name in ASKED),
        "products alone",
        f"s a picture, {steps} steps",
        "s to compile",
    ]
    print(table(header, [row_of(each) for each in found]))
    if args.json:
        text = json.dumps(found, indent=2) + "\n"
        files.write(args.json, lambda draft: draft.write_text(text))
    missed = [
        each["side"]
        for each in found
        for name, asked in ASKED.items()
        if not each["seconds"][name] > asked * each["seconds"][OURS]
    ]
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(sys.argv[1:])))
