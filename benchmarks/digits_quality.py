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

import numpy as np

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.evaluation.digits import judge_digits
from ptdit_jax.experiment import judging, null_text
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import NotFinite, generate
from ptdit_jax.experiment.pretrained import load_params
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.processes import environment
from ptdit_jax.text_tables import table
from ptdit_jax.training import checkpoint
from ptdit_jax.training.state import ema_name


def main(argv: list[str]) -> int:
    """Sample, judge and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--checkpoint", default="runs/c2i_digits", metavar="DIR", help="a run or one step of it"
    )
    parser.add_argument("--guidance", help="scales, comma separated")
    parser.add_argument("--interval", help="guided times as low:high, comma separated")
    parser.add_argument("--steps", help="sampler steps, comma separated")
    parser.add_argument("--seeds", default="0", help="seeds of the noise, comma separated")
    parser.add_argument("--count", type=int, default=500, help="digits a seed")
    args = parser.parse_args(argv)

    files.resolve(args, "checkpoint")
    step = checkpoint.find(args.checkpoint)
    config = rules.from_json(json.dumps(checkpoint.load_config(step)))
    experiment = build(config, null_text=null_text.of_run(config, null_text.folder_of(step)))
    mesh = make_mesh({"data": -1, "fsdp": 1}, environment.devices())
    params = load_params(step, ema_name(config.sampling.ema), experiment, mesh)
    cli.enable_compilation_cache()
    asked = judging.ask(config, experiment, args.count)

    guidances = floats(args.guidance) if args.guidance else [config.sampling.guidance]
    steps = [int(s) for s in floats(args.steps)] if args.steps else [config.sampling.steps]
    intervals = [tuple(config.sampling.guidance_interval)]
    if args.interval:
        intervals = [tuple(map(float, part.split(":"))) for part in args.interval.split(",")]
    rows: list[list[str]] = []
    seeds = [int(seed) for seed in floats(args.seeds)]
    title, problems = "", []
    cases = []
    for guidance, interval, count in itertools.product(guidances, intervals, steps):
        cases.append(config.copy_and_resolve_references())
        cases[-1].sampling.update({"guidance": guidance, "guidance_interval": interval, "steps": count})
        rules.validate(cases[-1])
    for case in cases:
        guidance, interval, count = (
            case.sampling[name] for name in ("guidance", "guidance_interval", "steps")
        )
        span = f"[{interval[0]:g}, {interval[1]:g}]"
        reports = []
        try:
            for seed in seeds:
                images = generate(
                    experiment,
                    params,
                    asked.numbers,
                    text=asked.text,
                    sampling=case.sampling,
                    seed=seed,
                    mesh=mesh,
                    description=f"seed {seed}",
                )
                reports.append(judge_digits(images, asked.labels))
        except NotFinite as error:
            problems.append(str(error))
            rows.append([f"{guidance:g}", span, str(count), "not finite", "", ""])
            continue
        recognised, variety, nearest = (
            spread([getattr(report, name) for report in reports], form)
            for name, form in (("recognition", ".1%"), ("variety", ".2f"), ("nearest_generated", ".2f"))
        )
        rows.append([f"{guidance:g}", span, str(count), recognised, variety, nearest])
        title = (
            f"; judge: {reports[0].judge_accuracy:.1%} of held-out real scans; nearest scan between real ones: "
            f"{reports[0].nearest_real:.2f}"
        )
    print(f"\n{args.count} digits a seed, seeds {args.seeds}, of {step}{title}\n")
    print(table(["guidance", "guided t", "steps", "recognised", "variety", "nearest scan"], rows), flush=True)
    if problems:
        raise cli.RunError("\n".join(problems))
    return 0


def floats(text: str) -> list[float]:
    """Numbers, comma separated."""
    numbers = [float(part) for part in text.split(",")]
    for number in numbers:
        cli.check_finite(number, text)
    return numbers


def spread(values: list[float], form: str) -> str:
    """Mean, and the range where there are several values."""
    mean = format(float(np.mean(values)), form)
    return (
        mean if len(values) == 1 else f"{mean} ({format(min(values), form)} to {format(max(values), form)})"
    )


if __name__ == "__main__":
    sys.exit(cli.run(lambda: main(sys.argv[1:])))
