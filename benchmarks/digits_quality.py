"""How well a run's digits are recognised and how varied they are, over guidance, its interval, steps and seeds.

    python -m benchmarks.digits_quality [--checkpoint runs/c2i_digits] [--guidance 1,2,4] [--interval 0:1]
        [--steps 50] [--seeds 0,1,2] [--count 500]

What is not given is as in the run's config.  A row is one combination: the share of `--count` digits that an SVC
fitted on the real scans takes for the digit asked for, the variety within a class over that of real digits, the
median distance to the nearest real scan (between real scans: in the title), each as mean and range over the seeds.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

import numpy as np

from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.evaluation.digits import judge_digits
from ptdit_jax.experiment import null_text, results
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import generate
from ptdit_jax.experiment.pretrained import load_params
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.processes import environment
from ptdit_jax.training import checkpoint
from ptdit_jax.training.state import ema_name


def main(argv: list[str]) -> int:
    """Sample, judge and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--checkpoint", type=Path, default=Path("runs/c2i_digits"), help="a run or one step of it"
    )
    parser.add_argument("--guidance", help="scales, comma separated")
    parser.add_argument("--interval", help="guided times as low:high, comma separated")
    parser.add_argument("--steps", help="sampler steps, comma separated")
    parser.add_argument("--seeds", default="0", help="seeds of the noise, comma separated")
    parser.add_argument("--count", type=int, default=500, help="digits a seed")
    args = parser.parse_args(argv)

    step = checkpoint.find(args.checkpoint)
    config = rules.from_json(json.dumps(checkpoint.load_config(step)))
    experiment = build(config, null_text=null_text.of_run(config, step.parent.parent))
    mesh = make_mesh({"data": -1, "fsdp": 1}, environment.devices())
    params = load_params(step, ema_name(config.sampling.ema), experiment, mesh)
    cli.enable_compilation_cache()
    asked = results.ask(config, experiment, args.count)

    guidances = floats(args.guidance) if args.guidance else [config.sampling.guidance]
    steps = [int(s) for s in floats(args.steps)] if args.steps else [config.sampling.steps]
    intervals = [tuple(config.sampling.guidance_interval)]
    if args.interval:
        intervals = [tuple(map(float, part.split(":"))) for part in args.interval.split(",")]
    lines = [
        "| guidance | guided t | steps | recognised | variety | nearest scan |",
        "|---|---|---|---|---|---|",
    ]
    reports = []
    for guidance, interval, count in itertools.product(guidances, intervals, steps):
        config.sampling.guidance, config.sampling.guidance_interval = guidance, interval
        config.sampling.steps = count
        rules.validate(config)
        reports = []
        for seed in map(int, floats(args.seeds)):
            images = generate(
                experiment,
                params,
                asked.numbers,
                text=asked.text,
                sampling=config.sampling,
                seed=seed,
                mesh=mesh,
                description=f"seed {seed}",
            )
            reports.append(judge_digits(images, asked.labels))
        recognised, variety, nearest = (
            spread([getattr(report, name) for report in reports], form)
            for name, form in (("recognition", ".1%"), ("variety", ".2f"), ("nearest_generated", ".2f"))
        )
        span = f"[{interval[0]:g}, {interval[1]:g}]"
        lines.append(f"| {guidance:g} | {span} | {count} | {recognised} | {variety} | {nearest} |")
    print(
        f"\n{args.count} digits a seed, seeds {args.seeds}, of {step}; judge: {reports[0].judge_accuracy:.1%} of "
        f"held-out real scans; nearest scan between real ones: {reports[0].nearest_real:.2f}\n"
    )
    print("\n".join(lines))
    return 0


def floats(text: str) -> list[float]:
    """Numbers, comma separated."""
    return [float(part) for part in text.split(",")]


def spread(values: list[float], form: str) -> str:
    """Mean, and the range where there are several values."""
    mean = format(float(np.mean(values)), form)
    return (
        mean if len(values) == 1 else f"{mean} ({format(min(values), form)} to {format(max(values), form)})"
    )


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(sys.argv[1:])))
