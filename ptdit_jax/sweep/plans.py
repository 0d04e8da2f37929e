"""What every point of a sweep takes, before anything is trained: memory and time, kept in the sweep's folder."""

import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from scipy.constants import mebi

from ptdit_jax import cli, files
from ptdit_jax import config as rules
from ptdit_jax.experiment import text_cost
from ptdit_jax.progress import Bar
from ptdit_jax.sweep.counts import count, step_fields
from ptdit_jax.sweep.points import Point, Sweep, some
from ptdit_jax.text_tables import table, triple

START = (
    15.0  # seconds of a run outside its steps and samples, on two CPU cores with compiled programs at hand
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the compiler and a few steps say about a config.

    Attributes:
      memory: bytes a device needs for the training step: state, gradients, activations, program.  Of a step that was
        not compiled, because its state alone is over the limit, or because the compiler gave up: what is known.
      limit: bytes that it has.
      step_seconds: of a step on this machine, or what a chip of a topology needs at least; nan where not known.
    """

    memory: float
    limit: float
    step_seconds: float

    @property
    def fits(self) -> bool:
        """Whether a device holds the step."""
        return self.memory <= self.limit

    def seconds(self, config: Any) -> float:
        """Of the whole run, sampling and start included; samples at the speed of a third of a training step."""
        sampling = config.sampling
        rows = rules.make_sampling(rules.make_objective(config), sampling).evaluations
        judged = 0 if config.evaluation.name == "none" else config.evaluation.count
        passes = rows * max(sampling.count, judged) * (1 if sampling.guidance == 1 else 2)
        return START + self.step_seconds * (config.train.steps + passes / (3 * config.data.batch))


def plan(
    sweep: Sweep,
    *,
    machine: str | None,
    limit: float,
    jobs: int,
    environment: Mapping[str, str],
    only_known: bool = False,
) -> dict[str, Plan]:
    """The plan of each point; those made before are kept in the sweep's folder.

    Args:
      sweep: valid points.
      machine: a topology to plan for; None for this machine.
      limit: bytes a device has for a run; 0 = what it says itself, over `jobs`.
      jobs: runs at a time.
      environment: variables of the process that compiles, as for the runs.
      only_known: make no new ones.

    Raises:
      RunError: the compiler fails.
    """
    path = sweep.workdir / "plans.json"
    known: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
    keys = {point.name: _key(point.config, machine, [limit, jobs], environment) for point in sweep.points}
    missing: dict[str, Point] = {}
    for point in sweep.points:
        if keys[point.name] not in known:
            missing.setdefault(keys[point.name], point)
    if missing and not only_known:
        sweep.workdir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "ptdit_jax.sweep.compiler", f"--limit={limit:.0f}", f"--jobs={jobs}"]
        command += [f"--topology={machine}"] if machine else []
        with (
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(environment)
            ) as worker,
            Bar(len(missing), "plan", "network") as bar,
        ):
            assert worker.stdin is not None
            assert worker.stdout is not None
            for key, point in missing.items():
                bar.note(point.name)
                try:
                    print(json.dumps(point.config.to_dict()), file=worker.stdin, flush=True)
                    answer = json.loads(worker.stdout.readline() or "null")
                except BrokenPipeError:
                    answer = None
                if answer is None:
                    code = worker.wait()
                    code = code if code == cli.USER_ERROR else cli.FAILURE
                    raise cli.RunError(f"{point.name}: its plan could not be made; see above", code=code)
                if "error" in answer:
                    raise ValueError(f"{point.name}: {answer['error']}")
                known[key] = answer
                files.write(path, lambda draft: draft.write_text(json.dumps(known, indent=1)))
                bar.update()
            worker.stdin.close()
    if only_known:  # however the sweep was run
        keys = {name: next((k for k in known if k.startswith(key[:16])), key) for name, key in keys.items()}
    return {name: Plan(**known[key]) for name, key in keys.items() if key in known}


def report(sweep: Sweep, plans: Mapping[str, Plan], jobs: int) -> str:
    """Every point with its figures, and the time of all, in Markdown."""
    rows, total = [], 0.0
    has_text = any(point.config.model.condition == "text" for point in sweep.points)
    for point in sweep.points:
        known, text = count(point.config), text_cost.columns(point.config)
        planned = plans.get(point.name, Plan(math.nan, math.inf, math.nan))
        seconds = planned.seconds(point.config)
        total += seconds
        rows.append(
            [
                point.name,
                f"{known.parameters:,}",
                f"{known.macs / 1e6:,.1f}",
                f"{known.tokens:,}",
                triple(known.window) if known.window else "",
                _known(planned.memory / mebi, ",.0f")
                + (" does not fit" if planned.memory > planned.limit else ""),
                _known(1e3 * planned.step_seconds, ",.1f"),
                f"{point.config.train.steps:,}",
                _known(seconds / 60, ",.1f"),
                *([_text(text)] if has_text else []),
                point.after or "",
            ]
        )
    header = [
        "point",
        "parameters",
        "M MACs",
        "tokens",
        "window",
        "MiB a device",
        "ms a step",
        "steps",
        "minutes",
        *(["text"] if has_text else []),
    ]
    has_order = any(point.after for point in sweep.points)
    header, rows = ([*header, "starts from"], rows) if has_order else (header, [row[:-1] for row in rows])
    text = f"{table(header, rows)}\n\nMACs: one forward pass of one sample."
    if not plans:
        return f"{text}  Memory and time are not known for machines that are neither here nor given by --topology."
    limit = next(iter(plans.values())).limit
    return (
        f"{text}  Memory: the compiled training step, of {limit / mebi:,.0f} MiB that a device has for a run.  Time: "
        "steps as timed here with nothing else running (for a topology: what its chips need at least), samples by the "
        f"same speed, and {START:.0f} s of start.\n\n{len(rows)} runs, "
        f"{duration(total / jobs)} in all, {jobs} at a time."
    )


def check(sweep: Sweep, plans: Mapping[str, Plan]) -> None:
    """That every point fits.

    Raises:
      ValueError: naming those that do not.
    """
    big = [point for point in sweep.points if point.name in plans and not plans[point.name].fits]
    if big:
        worst = max((plans[point.name] for point in big), key=lambda plan: plan.memory)
        raise ValueError(
            f"{some([point.name for point in big])}: the training step needs up to {worst.memory / mebi:,.0f} MiB of a "
            f"device's {worst.limit / mebi:,.0f}; smaller data.batch, larger optimizer.accumulate, "
            "or model.remat='block' need less"
        )


def _text(cost: Mapping[str, Any]) -> str:
    """What `text_cost.columns` says, as one cell."""
    if not cost:
        return ""
    if cost["text"] == "stored":
        return f"stored, {cost['text_terabytes']:,.1f} TB for 50 M captions"
    return f"live, {cost['text_mib']:,.0f} MiB a device, +{cost['text_share']:.1%} of a step"


def _known(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def duration(seconds: float) -> str:
    """In minutes, or hours where it is more than two."""
    if math.isnan(seconds):
        return "unknown time"
    return f"{seconds / 3600:,.1f} h" if seconds > 7200 else f"{seconds / 60:,.0f} min"


def _key(config: Any, machine: str | None, options: Sequence[float], environment: Mapping[str, str]) -> str:
    """What a plan depends on, as a short text: the step, and where it runs."""
    where = [machine, options, environment.get("NPROC", str(os.cpu_count())), jax.__version__]
    texts = step_fields(config), json.dumps(where)
    return "-".join(hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts)
