"""Measure what a trained network does: the redundancy of its attention, the lattice of its windows.

    python -m ptdit_jax.analyze redundancy --checkpoint RUN [--times 0.1,0.5,0.9] [--layers 0,3] [--window 2,2]
    python -m ptdit_jax.analyze lattice --checkpoint RUN [RUN ...] [--shifted both] [--space pixels]

redundancy takes a run with attention of all tokens to all (model.family dit, pixart, full3d), and tells how alike the
attention of two tokens of one window is over far and near keys, beside that of tokens of different windows: Sec. 3.1
and Fig. 3 of arXiv 2409.04005.  lattice tells how much more samples change across the borders of windows than inside,
beside the data: the grid artefact of its ablation on shifted windows.  Definitions: docs/analysis.md.

Tables are printed; numbers and pictures are written into --out, by default the folder analysis/ of the (first) run.

Exit code: 0 done; 1 a file cannot be read or written, or samples are not finite; 2 the command is wrong.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.analyze import lattice, redundancy, runs
from ptdit_jax.analyze.regions import regions
from ptdit_jax.experiment import origin
from ptdit_jax.experiment.build import build
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.processes import environment

LARGEST = 2**32  # seeds are below


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(
        prog="python -m ptdit_jax.analyze",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="redundancy | lattice")
    alike = verbs.add_parser("redundancy", help="of full attention, layer by layer")
    grid = verbs.add_parser("lattice", help="of windows, in samples and data")
    add = alike.add_argument
    add("--checkpoint", required=True, metavar="RUN", help="a run's folder (its newest step), or a step")
    add("--of", choices=("data", "samples"), default="data", help="what is noised (default data)")
    add("--times", default="0.1,0.5,0.9", metavar="T,...", help="in (0, 1), 1 = noise (default 0.1,0.5,0.9)")
    add("--layers", default="all", metavar="L,...", help="numbers from 0, or all (default)")
    add(
        "--count", type=int, default=16, metavar="N", help="records, or samples, that are noised (default 16)"
    )
    add("--batch", type=int, default=4, help="of them that are looked at together (default 4)")
    add = grid.add_argument
    add("--checkpoint", required=True, nargs="+", metavar="RUN", help="runs' folders, or steps, side by side")
    add(
        "--shifted",
        choices=("on", "off", "both"),
        default="on",
        help="off: without the shifted windows' term",
    )
    add("--space", choices=lattice.SPACES, default="latents", help="where neighbours are compared (latents)")
    add("--count", type=int, default=64, metavar="N", help="records, and samples of each kind (default 64)")
    for verb in (alike, grid):
        add = verb.add_argument
        add("--window", metavar="H,W", help="tokens, or F,H,W (default: that of the run's config)")
        add("--seed", type=int, default=0, help="of records, noise and pairs of windows (default 0)")
        add("--ema", type=float, help="decay of the average that is analysed, 0 = the raw parameters")
        add("--out", metavar="DIR", help="folder of numbers and pictures (default RUN/analysis)")
        add("--debug", action="store_true", help="show where an error comes from")
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> int:
    """Measure; returns the exit code."""
    cli.check_finite(args.ema, "--ema")
    for name in ("count", "batch"):
        if (value := getattr(args, name, 1)) < 1:
            raise ValueError(f"--{name}={value} must be at least 1")
    if not 0 <= args.seed < LARGEST:
        raise ValueError(f"--seed={args.seed} must be in [0, 2**32)")
    files.resolve(args, "out")
    return measure_redundancy(args) if args.verb == "redundancy" else measure_lattice(args)


def window_of(text: str | None) -> tuple[int, int, int] | None:
    """(cf, ch, cw) tokens of "H,W" or "F,H,W".

    Raises:
      ValueError: it is something else.
    """
    if text is None:
        return None
    words = text.split(",")
    if len(words) not in (2, 3) or not all(word.isdecimal() and int(word) for word in words):
        raise ValueError(
            f"--window={text} must be tokens, rows and columns: 2,2 (or frames, rows, columns: 1,2,2)"
        )
    numbers = [*[1] * (3 - len(words)), *map(int, words)]
    return numbers[0], numbers[1], numbers[2]


def measure_redundancy(args: argparse.Namespace) -> int:
    """Numbers and maps of a run's attention; returns the exit code."""
    # --- what is asked for
    path = files.path(args.checkpoint, "--checkpoint")
    run = origin.of_checkpoint(path, ema=args.ema)
    config = run.config
    redundancy.check_family(config, path)
    times = redundancy.chosen_times(args.times)
    layers = redundancy.chosen_layers(args.layers, rules.architecture(config).depth)
    own, layout = rules.layout(config)
    where = regions(layout.grid, window_of(args.window) or own, seed=args.seed)
    out = folder_of(args, run)

    # --- data and model, on one device: what is looked at together is little
    cli.enable_compilation_cache()
    mesh = make_mesh({"data": -1}, environment.devices()[:1])
    wants_samples = args.of == "samples"
    experiment = build(run.config, mesh=mesh, null_text=run.empty_caption() if wants_samples else None)
    params = run.load(experiment, mesh)
    if wants_samples:
        x0, condition = runs.samples(run, experiment, params, args.count, seed=args.seed, mesh=mesh)
    else:
        given = runs.records(config, args.count, seed=args.seed)
        x0, condition = np.stack([record["x"] for record in given]), runs.conditions(config, given, mesh)

    # --- attention
    how: dict[str, Any] = {"times": times, "layers": layers, "batch": args.batch, "seed": args.seed}
    found = redundancy.measure(config, experiment.objective, params, x0, condition, where, **how)
    print(f"{run.title}: {args.count} {args.of}, windows {where.window} of {where.grid} tokens")
    print(redundancy.report(found))

    # --- files
    facts = {"checkpoint": run.title, "of": args.of, "count": args.count, "seed": args.seed}
    facts |= {"grid": list(where.grid), "window": list(where.window), "pairs": len(where.pairs)}
    written = [write_json(out / "redundancy.json", [row for each in found for row in each.rows()], facts)]
    written.append(out / "redundancy.csv")
    files.write(written[-1], lambda draft: redundancy.write_csv(found, draft))
    for each in found:
        written.append(out / f"redundancy_t{each.time:g}.png")
        files.write(written[-1], lambda draft, each=each: redundancy.draw(each, where, draft))
    print("see " + ", ".join(map(str, written)))
    return 0


def measure_lattice(args: argparse.Namespace) -> int:
    """Numbers and folded gradients of runs' samples; returns the exit code."""
    # --- what is asked for
    found_runs = [
        origin.of_checkpoint(files.path(each, "--checkpoint"), ema=args.ema) for each in args.checkpoint
    ]
    names = [Path(each).absolute().name for each in args.checkpoint]
    if len(set(names)) < len(names):
        raise ValueError(
            f"--checkpoint {' '.join(args.checkpoint)}: folders must have different names, for the table"
        )
    shifted = ("on", "off") if args.shifted == "both" else (args.shifted,)
    window = window_of(args.window)
    plans = [
        lattice.plan(run, window, args.space, shifted, name=name) for run, name in zip(found_runs, names)
    ]
    out = folder_of(args, found_runs[0])

    # --- samples, run after run
    cli.enable_compilation_cache()
    mesh = make_mesh({"data": -1}, environment.devices())
    found = []
    for asked in plans:
        rows, columns = asked.window
        print(f"{asked.run.title}: windows of {rows}x{columns} cells of {asked.space}")
        found += lattice.measure(asked, shifted, count=args.count, seed=args.seed, mesh=mesh)
    print(lattice.report(found))

    # --- files
    facts = {"count": args.count, "seed": args.seed, "space": args.space}
    facts["runs"] = {
        asked.name: {
            "checkpoint": asked.run.title,
            "window": list(asked.window),
            "token": list(asked.token),
        }
        for asked in plans
    }
    numbers, picture = out / "lattice.json", out / "lattice.png"
    write_json(numbers, lattice.as_rows(found), facts)
    files.write(picture, lambda draft: lattice.draw(found, draft))
    print(f"see {numbers}, {picture}")
    return 0


def folder_of(args: argparse.Namespace, run: origin.Origin) -> Path:
    """The folder of the outputs, made.

    Raises:
      OSError: it cannot be.
    """
    out = args.out or run.home / "analysis"
    files.make_folder(out, "--out")
    return out


def write_json(path: Path, figures: list[dict[str, Any]], facts: dict[str, Any]) -> Path:
    """Write the numbers, and all that they depend on; returns the file."""
    text = json.dumps({"figures": figures, **facts}, indent=2) + "\n"
    files.write(path, lambda draft: draft.write_text(text))
    return path


if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    sys.exit(cli.run(lambda: main(arguments), debug=arguments.debug))
