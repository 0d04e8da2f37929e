"""How far a stage is, and what it has started from, by what lies in its folder.

The folder is that of an ordinary run and one file more: `stage.json`, written before the first step, says which
checkpoint of which stage the run starts with, and the fingerprint of that.
"""

import dataclasses
import hashlib
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

from ptdit_jax import config as rules
from ptdit_jax import files
from ptdit_jax.experiment import results
from ptdit_jax.stages.recipe import START, Recipe, Run, named
from ptdit_jax.sweep import points
from ptdit_jax.sweep.runs import last_row
from ptdit_jax.sweep.tables import scalars
from ptdit_jax.training import checksums, integrity

RECORD = "stage.json"
RECENT = 60.0  # seconds; a run that wrote something since is taken for one that goes on
STEPS = 20  # after a time of so many steps without a word, if that is longer, it is not
LATELY = 10  # points of the curve of step times whose median is the speed


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a stage is.

    Attributes:
      state: "waiting", "running", "stopped" (begun, and it seems that nothing goes on) or "done".
      step: steps in its metrics.
      loss: of the last one; None before the first.
      left: seconds of the steps that are left, at its speed; nan where not known.
    """

    state: str
    step: int
    loss: float | None
    left: float


def newest(folder: Path) -> Path | None:
    """The newest checkpoint of a run's folder; None without one."""
    checkpoints = folder / "checkpoints"
    return next(iter(integrity.steps(checkpoints)), None) if checkpoints.is_dir() else None


def is_done(run: Run) -> bool:
    """Whether all steps of a stage are saved, and its results made."""
    step = newest(run.folder)
    saved = step is not None and int(step.name) >= run.config.train.steps
    return saved and results.is_complete(run.config, run.folder)


def progress(run: Run, now: float | None = None) -> Progress:
    """How far a stage is.

    Args:
      run: the stage.
      now: seconds since 1970; None asks the clock.
    """
    steps, folder = run.config.train.steps, run.folder
    step, loss = last_row(folder / "metrics.csv")
    speeds = list(scalars(folder / "tensorboard", "speed/step_seconds"))[-LATELY:]
    speed = statistics.median(speeds) if speeds else math.nan
    if is_done(run):
        return Progress("done", step, loss, 0.0)
    written = [file.stat().st_mtime for name in (RECORD, "metrics.csv") if (file := folder / name).exists()]
    quiet = (time.time() if now is None else now) - max(written, default=-math.inf)
    patience = max(RECENT, 0.0 if math.isnan(speed) else STEPS * speed)
    state = "waiting" if not written else "running" if quiet < patience else "stopped"
    return Progress(state, step, loss, (steps - min(step, steps)) * speed)


def fingerprint(step: Path) -> str:
    """What tells a checkpoint from any other: a digest of the list of its files and their digests.

    Raises:
      ValueError: it has no such list.
    """
    try:
        return hashlib.sha256((step / checksums.FILE).read_bytes()).hexdigest()
    except FileNotFoundError as error:
        raise ValueError(f"checkpoint {step} has no {checksums.FILE}, by which it would be known") from error


def write_record(recipe: Recipe, run: Run) -> None:
    """Say in a stage's folder what it starts with; to be called before its first step, with what that is done."""
    files.make_folder(run.folder, "--workdir")
    record: dict[str, Any] = {"recipe": recipe.name}
    if (before := recipe.before(run)) is not None:
        step = newest(before.folder)
        assert step is not None
        record |= {"init_from": before.name, "checkpoint": int(step.name), "fingerprint": fingerprint(step)}
    text = json.dumps(record, indent=2) + "\n"
    files.write(run.folder / RECORD, lambda draft: draft.write_text(text))


def resumed(run: Run) -> Run:
    """The stage as its run goes on: with the path of the start that the run has had, wherever that lies now."""
    file = run.folder / "config.json"
    if not run.stage.init_from or newest(run.folder) is None or not file.is_file():
        return run
    saved = rules.from_json(file.read_text()).train.init_from
    if saved == run.config.train.init_from:
        return run
    config = rules.from_json(rules.to_json(run.config))
    config.train.init_from = saved
    return dataclasses.replace(run, config=config, arguments=(*run.arguments, f"--config.{START}={saved}"))


def problems(recipe: Recipe, run: Run, chosen: set[str]) -> list[str]:
    """Why a stage's folder is in the way, or what it started from is another now; a line each.

    Args:
      recipe: of the stage.
      run: the stage.
      chosen: names of the stages that are to be run where they are not done.
    """
    try:
        points.check_folder(run.folder, resumed(run).config)
    except ValueError as error:
        return named(run.name, str(error))
    before = recipe.before(run)
    if before is None:
        return []
    has, is_chosen = newest(before.folder), before.name in chosen
    if newest(run.folder) is None:
        if is_chosen or is_done(before):
            return []
        return [
            f"stage {run.name}: it starts from {before.name}, which is not done in {before.folder}; "
            f"--from {before.name} runs both"
        ]
    follow = recipe.following(run.name)
    folders = ", ".join(str(recipe.workdir / name) for name in follow)
    again = f"move {folders} away to train {'them' if len(follow) > 1 else 'it'} again"
    file = run.folder / RECORD
    record = json.loads(file.read_text()) if file.is_file() else {}
    if record.get("init_from") != before.name:
        return [
            f"stage {run.name}: {run.folder} has a run that was not started from {before.name}, as the recipe says; "
            f"{again}, or use another --workdir"
        ]
    if has is not None and fingerprint(has) != record["fingerprint"]:
        now = f"which has another checkpoint {has.name} now"
    elif is_chosen and has is None:
        now = f"which is not in {before.folder} any more (--from {run.name} does not look for it)"
    elif is_chosen and has is not None and int(has.name) < before.config.train.steps:
        now = f"which would be trained on to {before.config.train.steps}"
    else:
        return []
    return [
        f"stage {run.name}: it was started from checkpoint {record['checkpoint']} of {before.name}, {now}; "
        f"undo that, or {again}"
    ]
