"""The stages of a recipe one after the other, on every process: what is next, and the run of it.

Process 0 reads the folders and decides; the others are told, and start the same command.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ptdit_jax import cli
from ptdit_jax.processes import decision, distributed, signals
from ptdit_jax.stages import checks, state
from ptdit_jax.stages.recipe import Recipe
from ptdit_jax.sweep.runs import WRAPPER

POLL = 0.1  # seconds between looks at the run


class Stages:
    """What process 0 decides by."""

    def __init__(self, prepare: Callable[[], tuple[Recipe, set[str]]]):
        """`prepare` reads and checks the recipe, and says which of its stages are to be run; called once."""
        self._prepare = prepare
        self._known: tuple[Recipe, set[str]] | None = None
        self._last = ""
        self.error: ValueError | OSError | cli.RunError | None = None

    def __call__(self, stopped: int) -> dict[str, Any]:
        """What is next on all processes.

        Args:
          stopped: a signal that came to one of them, or 0.

        Returns:
          {"arguments": those of `ptdit_jax.train`}, or {"code": the exit code}; after an error, which `error` is then.
        """
        try:
            return {"code": signals.exit_code(stopped)} if stopped else self._next()
        except (ValueError, OSError, cli.RunError) as error:
            self.error = error
            code = error.code if isinstance(error, cli.RunError) else cli.FAILURE
            return {"code": cli.USER_ERROR if isinstance(error, ValueError) else code}

    def _next(self) -> dict[str, Any]:
        if self._known is None:
            self._known = self._prepare()
        recipe, chosen = self._known
        for number, run in enumerate(recipe.runs.values(), 1):
            if run.name not in chosen or state.is_done(run):
                continue
            if run.name == self._last:
                raise cli.RunError(
                    f"stage {run.name} has ended well, but its results are not in {run.folder}"
                )
            checks.check_folders(recipe, {run.name})
            checks.check_data_of(run)
            begun = state.newest(run.folder)
            if begun is None:
                state.write_record(recipe, run)
            self._last = run.name
            where = f"goes on from step {begun.name}" if begun else "starts"
            where += f" from {run.stage.init_from}" if run.stage.init_from and not begun else ""
            _say(f"[{number}/{len(recipe.runs)}] {run.name} {where}")
            return {"arguments": [*state.resumed(run).arguments, f"--workdir={run.folder}"]}
        _say(f"done: {', '.join(f'{recipe.runs[name].folder}' for name in recipe.runs if name in chosen)}")
        return {"code": 0}


def run(stages: Stages, launch: distributed.Launch) -> int:
    """Run what is not done; every process of a launch is to come here.

    SIGTERM and Ctrl-C are passed on to the run, which saves a checkpoint and ends.

    Args:
      stages: of process 0; the others do not ask it.
      launch: the place of this process, which the runs get too.

    Returns:
      The exit code: that of a run that was stopped or has failed, after which none is started.

    Raises:
      ValueError, OSError, RunError: on process 0, what is wrong with a stage.
      Missing: not all processes came.
    """
    place, _ = distributed.resolve(launch)
    with signals.StopRequest() as stop:
        while True:
            answer = decision.by_first(place, stop.signal or 0, stages)
            if stages.error is not None:
                raise stages.error
            if "code" in answer:
                return answer["code"]
            if code := _train([*answer["arguments"], *distributed.flags(launch)], stop):
                return code


def _train(arguments: Sequence[str], stop: signals.StopRequest) -> int:
    """A run to its end: its exit code."""
    train = [sys.executable, "-m", "ptdit_jax.train", *arguments]
    process = subprocess.Popen(
        [sys.executable, "-c", WRAPPER, str(os.getpid()), *train],
        start_new_session=True,  # Ctrl-C of the terminal reaches this process alone, which passes it on once
    )
    told = False
    try:
        while process.poll() is None:
            if stop.signal and not told:
                told = True
                process.send_signal(stop.signal)
            time.sleep(POLL)
    finally:
        process.kill()  # only an error of our own comes here with the run alive
    code = process.returncode
    return signals.exit_code(-code) if code < 0 else code


def _say(text: str) -> None:
    print(text, flush=True)
