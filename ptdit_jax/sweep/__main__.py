"""Run a sweep: check and plan all its points, train them, and compare them in a table and a report.

    python -m ptdit_jax.sweep FILE[:SIZE] [--dry-run | --status | --report] [--jobs N] [--warm-start [STEPS]]
        [--backend local|slurm|jobset] [--topology NAME] [--memory GIB] [--workdir DIR] [--config.FIELD=VALUE ...]

FILE is a file like those in configs/sweeps/, SIZE one of its sizes.  DIR, `runs/sweeps/NAME` for a file NAME.py, gets

    points/POINT/  the folder of an ordinary run, with log.txt and attempts.json
    plans.json     memory and speed of every point
    table.parquet  table.csv  report.html  figures/

The same command again goes on where the sweep was stopped, with the same table at the end but for times and memory.

--dry-run          check and plan all points, show what they cost, and stop
--status           show how far each point is and how long the rest takes, again and again on a terminal
--report           write the table and the report of what there is
--jobs N           runs at a time, each with its share of the CPU's cores (default 1)
--warm-start       points that differ from an earlier one in the compression ratio alone start from its parameters,
                   and train STEPS steps (default: as many as they have)
--backend slurm    submit what is not done as an array of jobs (N at a time with --jobs N), each of which is
                   launch/slurm.sbatch; jobset: as a JobSet of launch/jobset.yaml for each point
--topology NAME    plan for a machine that need not be there, such as v5e:4x4; its data is not looked at here
--memory GIB       that a device has for a run; a point that needs more is refused (default: all it has)

Exit code: 0 done; 1 points have failed; 2 the command, the sweep or one of its points is wrong, and nothing has
started; 143 and 130 after SIGTERM and Ctrl-C, which the runs survive with a checkpoint.
"""

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence

import jax

from ptdit_jax import cli, files
from ptdit_jax.parallel.chips import GIB
from ptdit_jax.sweep import plans, points, report, runs, schedulers, tables
from ptdit_jax.text_tables import table

RECENT = 60.0  # seconds; a run that wrote something since is taken for one that goes on


def main(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Check, plan, run and report; returns the exit code."""
    local = options.backend == "local"
    if options.jobs < 0 or (options.jobs == 0 and local):
        raise ValueError(f"--jobs={options.jobs} must be at least 1")
    if options.warm_start is not None and not local:
        raise ValueError(
            f"--warm-start needs --backend=local: jobs of {options.backend} do not wait for each other"
        )
    if not local:
        schedulers.template(options.backend)

    if not 0 <= options.memory < math.inf:
        raise ValueError(
            f"--memory={options.memory} must be positive, in GiB, or 0 for all that a device has"
        )
    files.resolve(options, "workdir")

    # --- points
    sweep = points.load(
        options.file,
        extra,
        workdir=options.workdir,
        warm_start=options.warm_start,
        check_data=local and not options.topology and not (options.status or options.report),
    )

    if not options.status:
        files.make_folder(sweep.workdir, "--workdir")

    # --- plans
    jobs = options.jobs if local else 1
    environment = share_of_cores(jobs)
    planned = plans.plan(
        sweep,
        machine=options.topology,
        limit=options.memory * GIB,
        jobs=jobs,
        environment=environment,
        only_known=options.status
        or options.report
        or not (local or options.topology),  # other machines cannot be timed from here
    )
    if options.status:
        return show_status(sweep, planned)
    if options.report:
        return finish(sweep, planned, {})
    print(plans.report(sweep, planned, jobs), flush=True)
    for line in sweep.warnings:
        print(f"warning: {line}", file=sys.stderr)
    plans.check(sweep, planned)
    if options.dry_run:
        return 0

    # --- runs
    if not local:
        return schedulers.submit(sweep, options.backend, options.jobs)

    def say(line: str, rest: Sequence[points.Point]) -> None:
        print(line + left(sweep, planned, rest, jobs), flush=True)

    failed, stopped = runs.run(sweep, jobs=jobs, environment=environment, say=say)
    if stopped:
        print("stopped; the same command goes on", file=sys.stderr)
        return stopped
    return finish(sweep, planned, failed)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and the fields of the config that all points get."""
    parser = cli.option_parser("ptdit_jax.sweep", __doc__ or "")
    add = parser.add_argument
    add("file", help=argparse.SUPPRESS)
    what = parser.add_mutually_exclusive_group()
    for flag in ("--dry-run", "--status", "--report"):
        what.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    add("--jobs", type=int, default=None, help=argparse.SUPPRESS)
    add("--warm-start", type=int, nargs="?", const=0, default=None, help=argparse.SUPPRESS)
    add("--backend", choices=("local", "slurm", "jobset"), default="local", help=argparse.SUPPRESS)
    add("--topology", help=argparse.SUPPRESS)
    add("--memory", type=float, default=0.0, help=argparse.SUPPRESS)
    add("--workdir", help=argparse.SUPPRESS)
    add("--debug", action="store_true", help=argparse.SUPPRESS)
    options, extra = parser.parse_known_args(argv)
    if options.jobs is None:
        options.jobs = 1 if options.backend == "local" else 0
    for argument in extra:
        if not re.match(r"--config\.[\w.]+=", argument):
            parser.error(f"{argument!r} is no option; fields of all points are --config.FIELD=VALUE")
    return options, extra


def share_of_cores(jobs: int) -> dict[str, str]:
    """The environment of runs: threads of XLA and BLAS by the cores that each of `jobs` runs has."""
    if jobs == 1:
        return dict(os.environ)
    cores = str(max(1, len(os.sched_getaffinity(0)) // jobs))
    return os.environ | {name: cores for name in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


def left(
    sweep: points.Sweep, planned: Mapping[str, plans.Plan], rest: Sequence[points.Point], jobs: int
) -> str:
    """How long the points of `rest` take, `jobs` at a time, by the plans; "" for none, or where a plan is missing."""
    if not rest or any(point.name not in planned for point in rest):
        return ""
    seconds = [
        planned[point.name].seconds(point.config)
        * (1 - runs.progress(sweep, point).step / point.config.train.steps)
        for point in rest
    ]
    return f"; {plans.duration(max(sum(seconds) / jobs, *seconds))} left"


def show_status(sweep: points.Sweep, planned: Mapping[str, plans.Plan]) -> int:
    """Print how far each point is; on a terminal until all are done or have failed."""
    while True:
        progress = {point.name: runs.progress(sweep, point) for point in sweep.points}
        rows = []
        for point in sweep.points:
            one = progress[point.name]
            age = "" if one.written is None else f"{max(0.0, time.time() - one.written):,.0f} s ago"
            loss = "" if one.loss is None else f"{one.loss:.4f}"
            steps = f"{one.step:,} of {point.config.train.steps:,}"
            rows.append([point.name, one.state, steps, loss, age, one.error])
        states = [one.state for one in progress.values()]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        now = [one for one in progress.values() if one.written and time.time() - one.written < RECENT]
        jobs = sum(one.state == "started" for one in now)
        rest = [point for point in sweep.points if progress[point.name].state not in ("done", "failed")]
        counts += left(sweep, planned, rest, jobs) if jobs else ""
        text = f"{table(['point', 'state', 'steps', 'loss', 'last written', ''], rows)}\n\n{counts}"
        if not sys.stdout.isatty():
            print(text)
            return 0
        print(f"\033[H\033[2J{text}", flush=True)  # from the top of an empty screen
        if set(states) <= {"done", "failed"}:
            return 0
        time.sleep(2)


def finish(sweep: points.Sweep, planned: dict[str, plans.Plan], failed: dict[str, str]) -> int:
    """Write table and report, name the points that failed; returns the exit code."""
    results = tables.collect(sweep, planned)
    tables.write(results, sweep.workdir)
    report.write(sweep, results)
    names = ("report.html", "figures", "table.parquet", "table.csv")
    print("see " + ", ".join(str(sweep.workdir / name) for name in names))
    for name, reason in failed.items():
        print(f"error: {name}: {reason}; log: {sweep.folder(name) / 'log.txt'}", file=sys.stderr)
    return cli.FAILURE if failed else 0


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # this process only counts: accelerators are for the runs
    arguments, fields = parse(sys.argv[1:])
    sys.exit(cli.run(lambda: main(arguments, fields), debug=arguments.debug))
