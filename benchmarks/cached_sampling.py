"""What `sampling.cache` gains and costs: time, share of the network's work, and samples against those without a cache.

    python -m benchmarks.cached_sampling [--checkpoint runs/c2i_digits] [--thresholds 0.1,0.5,2] [--every 2,3,4]
        [--steps 25] [--sampler heun] [--count 250] [--rounds 1] [--processor-time]

For a trained run of digits.  MagCache's ratios are measured here, on samples of another seed.  The work is that of the
network's matrix products (`models.complexity`) at the evaluations of one sample; the seconds are the least of some
rounds in which all settings take turns, without compilation.  The distance to the samples without a cache is the root
of the mean square over pixels in [-1, 1], the mean over samples; that of two samples of one class is beside it.
"""

import argparse
import json
import math
import sys
import time
from typing import Any

import jax
import numpy as np

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.evaluation.digits import judge_digits
from ptdit_jax.experiment import caching, generate, judging
from ptdit_jax.experiment.build import Experiment, build
from ptdit_jax.experiment.pretrained import load_params
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.models import complexity
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.processes import environment
from ptdit_jax.text_tables import table
from ptdit_jax.training import checkpoint
from ptdit_jax.training.state import ema_name

GLOBAL = ("proxies", "injection")
"""Parts of `complexity.PARTS` that cache "global" keeps."""
OUTSIDE = ("patches", "embeddings", "output")
"""Those that no block has."""


def main(argv: list[str]) -> int:
    """Sample, judge and print the table."""
    args = parse(argv)
    files.resolve(args, "checkpoint")
    step = checkpoint.find(args.checkpoint)
    config = rules.from_json(json.dumps(checkpoint.load_config(step)))
    for name in ("steps", "sampler"):
        if (value := getattr(args, name)) is not None:
            config.sampling[name] = value
    config.sampling.batch = args.count
    rules.validate(config)
    devices = environment.devices()
    mesh = make_mesh({"data": -1}, devices)
    experiment = build(config, mesh=mesh)
    params = load_params(step, ema_name(config.sampling.ema), experiment, mesh)
    cli.enable_compilation_cache()
    asked = judging.ask(config, experiment, args.count)
    sampling = config.sampling
    how: dict[str, Any] = {"sampling": sampling, "mesh": mesh}

    meter = caching.Meter(experiment)
    labels = asked.numbers[:20]
    generate.generate(experiment, params, labels, seed=1, observe=meter, description="calibrate", **how)
    calibration = meter.calibration(sampling, samples=len(labels), checkpoint=str(step))

    cases: dict[str, dict[str, Any]] = {"none": {"cache": "none"}}
    for threshold in numbers(args.thresholds):
        cases[f"magcache {threshold:g}"] = {"cache": "magcache", "cache_threshold": threshold}
    for k in numbers(args.every):
        cases[f"global {k:g}"] = {"cache": "global", "cache_every": int(k)}
    steps, images, seconds = {}, {}, {name: math.inf for name in cases}
    for name, fields in cases.items():
        config.sampling.update(fields)
        rules.validate(config)
        fixed = config.sampling.copy_and_resolve_references()
        steps[name] = Steps(experiment, fixed, mesh, count=args.count, calibration=calibration)
        warm(steps[name], params, asked.numbers)
    clock = time.process_time if args.processor_time else time.perf_counter
    for _ in range(args.rounds):
        for name, each in steps.items():
            before = clock()
            wanted = generate.Wanted(asked.numbers)
            parts = [part for _, part in generate.batches(each, params, wanted, seed=0, description=name)]
            seconds[name] = min(seconds[name], clock() - before)
            images[name] = np.concatenate(parts)

    rows = []
    for name, each in steps.items():
        report = judge_digits(images[name], asked.labels)
        rows.append(
            [
                name,
                f"{each.plan.reuse.sum()} of {len(each.plan.reuse)}",
                f"{work(config, experiment, each.plan):.0%}",
                f"{1e3 * seconds[name] / args.count:.2f}",
                f"{seconds['none'] / seconds[name]:.2f}x",
                f"{report.recognition:.1%}",
                f"{report.variety:.2f}",
                f"{distance(images[name], images['none']):.3f}",
            ]
        )
    kind = "processor time" if args.processor_time else "time"
    print(
        f"\n{environment.describe(devices, chips.host_memory())}, jax {jax.__version__}; {args.count} digits of {step},"
    )
    print(
        f"{sampling.sampler}, {sampling.steps} steps, guidance {sampling.guidance:g}; two digits of one class are"
    )
    print(f"{apart(images['none'], asked.numbers):.3f} apart\n")
    header = ["cache", "reusing", "work", f"ms {kind} a digit", "speed", "recognised", "variety", "distance"]
    print(table(header, rows))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--checkpoint", default="runs/c2i_digits", metavar="DIR", help="a run of digits, or one step of it")
    add("--thresholds", default="0.1,0.5,2", help="of magcache, comma separated")
    add("--every", default="2,3,4", help="k of global, comma separated")
    add("--steps", type=int, help="of the sampler; default: the run's")
    add("--sampler", help="default: the run's")
    add("--count", type=int, default=250, help="digits")
    add("--rounds", type=int, default=1, help="times that each setting is timed")
    add("--processor-time", action="store_true", help="of this process, for a machine that is not idle")
    return parser.parse_args(argv)


def numbers(text: str) -> list[float]:
    """Numbers, comma separated."""
    return [float(part) for part in text.split(",") if part]


def warm(steps: Steps, params: Any, labels: np.ndarray) -> None:
    """Compile."""
    chosen = np.arange(steps.batch).clip(max=len(labels) - 1)
    keys = generate.sample_keys(0, labels[chosen], steps.experiment.prng)
    given = jax.device_put(generate.Wanted(labels).given(chosen, steps.experiment), steps.place)
    steps.step(params, steps.place_keys(jax.random.key_data(keys)), given, steps.sampling.guidance)


def work(config: Any, experiment: Experiment, plan: caching.Plan) -> float:
    """Multiply-accumulates over those without a cache."""
    parts = complexity.forward(rules.architecture(config), experiment.layout)
    whole = complexity.total(parts).total
    kept = GLOBAL if plan.keep == "global" else set(parts) - set(OUTSIDE)
    saved = sum(parts[part].total for part in kept if part in parts)
    return 1 - plan.reuse.mean() * saved / whole


def distance(images: np.ndarray, others: np.ndarray) -> float:
    """The mean over samples of the root mean square over pixels."""
    return float(np.sqrt(np.square(images - others).mean(axis=(1, 2, 3, 4))).mean())


def apart(images: np.ndarray, labels: np.ndarray) -> float:
    """`distance` of each sample to the next of its class."""
    pairs = [
        (np.flatnonzero(labels == label)[:-1], np.flatnonzero(labels == label)[1:])
        for label in set(labels.tolist())
    ]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return distance(images[first], images[second])


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(sys.argv[1:])))
