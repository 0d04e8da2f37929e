"""Run the stages of a recipe, each from the parameters of an earlier one; or show what they cost, or how far they are.

    python -m ptdit_jax.stages FILE [--dry-run [--topology NAME] [--utilisation U] | --status]
        [--only STAGE | --from STAGE] [--workdir DIR] [--config.FIELD=VALUE ...] [--STAGE.FIELD=VALUE ...] [--debug]
        [--coordinator HOST:PORT --processes N --process-id I | --cluster auto] [--start-timeout S] [--step-timeout S]

FILE is a file like those in configs/recipes/.  DIR, `runs/NAME` for a file NAME.py, gets a folder a stage: that of an
ordinary run of `ptdit_jax.train`, with stage.json, which says what it started from.

Everything is checked before the first stage starts.  The same command again goes on where it was stopped, with the
results of a chain that never was; what is done is not run again.  A stage whose predecessor is another now than the one
that it started from is refused.  Several processes are started as those of training (`launch/stages.sh --simulate`
starts some on one machine); DIR is on storage that all share.

--dry-run      check all stages and show what each costs: parameters, multiply-accumulates, memory, time, disk
--topology     with --dry-run: on a machine that need not be there, such as v5p:4x4x4 (default: this one)
--utilisation  with --topology: share of the chips' peak that arithmetic is taken to reach (0.25)
--status       show how far each stage is; only reads
--only STAGE   run this stage alone; what it starts from has to be done
--from STAGE   run this stage and those that descend from it
--config.FIELD a field of all stages; --STAGE.FIELD of one, as in --t2i_512.data.path=/data/t2i_512

Exit code: 0 done; otherwise that of the stage at which it ended, as of `ptdit_jax.train`: 1 it cannot go on; 2 the
command, the recipe or a stage is wrong; 143 and 130 after SIGTERM and Ctrl-C, which a run survives with a checkpoint;
75 and 76 after which the same command may be tried again, on all processes.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence

import jax

from ptdit_jax import cli, files
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.chips import Machine
from ptdit_jax.processes import distributed, peers
from ptdit_jax.progress import track
from ptdit_jax.stages import checks, costs, recipe, running, tables


def main(options: argparse.Namespace, launch: distributed.Launch, extra: Sequence[str]) -> int:
    """Check, then show or run; returns the exit code."""
    files.resolve(options, "workdir")
    if options.dry_run:
        return dry_run(options, extra)
    if options.status:
        print(tables.status(recipe.load(options.file, extra, workdir=options.workdir)))
        return 0

    def prepare() -> tuple[recipe.Recipe, set[str]]:
        loaded = recipe.load(options.file, extra, workdir=options.workdir)
        names = chosen(loaded, options)
        machine = here(launch)
        checks.check_configs(loaded, machine=machine)
        checks.check_folders(loaded, names)
        for line in checks.check_data(loaded, names, machine=machine):
            print(f"note: {line}", flush=True)
        files.make_folder(loaded.workdir, "--workdir")
        return loaded, names

    try:
        return running.run(running.Stages(prepare), launch)
    except peers.Missing as error:
        raise cli.RunError(str(error), code=peers.LOST) from error


def dry_run(options: argparse.Namespace, extra: Sequence[str]) -> int:
    """Check all that is there, and print the table of costs; returns the exit code."""
    if not 0 < options.utilisation <= 1:
        raise ValueError(f"--utilisation={options.utilisation:g} must be above 0 and at most 1")
    loaded = recipe.load(options.file, extra, workdir=options.workdir)
    names = chosen(loaded, options)
    checks.check_configs(loaded)
    checks.check_folders(loaded, names)
    machine = costs.target(options.topology)
    notes = checks.check_data(loaded, names, starts=False)
    runs = [run for run in loaded.runs.values() if run.name in names]
    found = [costs.cost(run, machine) for run in track(runs, len(runs), "plan", "stage")]
    print(
        "\n".join([tables.costs(found, machine, options.utilisation), *(f"note: {line}" for line in notes)])
    )
    return 0


def chosen(loaded: recipe.Recipe, options: argparse.Namespace) -> set[str]:
    """The names of the stages that the command means.

    Raises:
      ValueError: there is no such stage.
    """
    for flag, name in (("--only", options.only), ("--from", options.start)):
        if name is not None and name not in loaded.runs:
            raise ValueError(f"{flag}={name}: there is no such stage; those are {', '.join(loaded.runs)}")
    if options.only:
        return {options.only}
    return set(loaded.following(options.start) if options.start else loaded.runs)


def here(launch: distributed.Launch) -> Machine | None:
    """The machine of the runs where it is known without taking its accelerators from them: CPUs."""
    if os.environ.get("JAX_PLATFORMS", "").partition(",")[0] != "cpu":
        return None
    mine = chips.here()
    count = distributed.resolve(launch)[0].processes or 1
    return dataclasses.replace(mine, devices=jax.local_device_count() * count, processes=count)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, distributed.Launch, list[str]]:
    """Our options, how the processes were started, and fields of the stages.

    Raises:
      ValueError: options that do not go together.
    """
    launch, rest = distributed.parse(argv)
    parser = cli.option_parser("ptdit_jax.stages", __doc__ or "")
    add = parser.add_argument
    add("file", help=argparse.SUPPRESS)
    show = parser.add_mutually_exclusive_group()
    show.add_argument("--dry-run", action="store_true", help=argparse.SUPPRESS)
    show.add_argument("--status", action="store_true", help=argparse.SUPPRESS)
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--only", help=argparse.SUPPRESS)
    part.add_argument("--from", dest="start", help=argparse.SUPPRESS)
    add("--topology", help=argparse.SUPPRESS)
    add("--utilisation", type=float, help=argparse.SUPPRESS)
    add("--workdir", help=argparse.SUPPRESS)
    add("--debug", action="store_true", help=argparse.SUPPRESS)
    options, extra = parser.parse_known_args(rest[1:])
    for flag in ("topology", "utilisation"):
        if getattr(options, flag) is not None and not options.dry_run:
            parser.error(f"--{flag} goes with --dry-run")
    if (options.dry_run or options.status) and (launch.coordinator or launch.cluster):
        parser.error(
            "--dry-run and --status are of one process: leave out --simulate, --coordinator and --cluster"
        )
    options.utilisation = 0.25 if options.utilisation is None else options.utilisation
    return options, launch, extra


def start(argv: Sequence[str]) -> int:
    """Read the command line and run; returns the exit code."""
    options, launch, extra = parse(argv)
    # This process only counts, and leaves accelerators to the runs; but --dry-run times steps here.
    platforms = None if options.dry_run and not options.topology else "cpu"
    return cli.run(lambda: main(options, launch, extra), debug=options.debug, platforms=platforms)


if __name__ == "__main__":
    sys.exit(cli.run(lambda: start(sys.argv)))
