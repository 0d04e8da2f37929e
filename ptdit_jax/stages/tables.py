"""What stages cost, and how far they are, as text."""

import collections
import math
from collections.abc import Sequence

from scipy.constants import giga, mega

from ptdit_jax.stages import state
from ptdit_jax.stages.costs import Cost, Target
from ptdit_jax.stages.recipe import Recipe
from ptdit_jax.text_tables import amount, gib, table

DAY = 24 * 3600  # seconds


def costs(found: Sequence[Cost], machine: Target, utilisation: float) -> str:
    """A row a stage, their sum, and what the columns are."""
    header = ["stage", "starts from", "M parameters", "G MACs", "steps", "samples"]
    header += ["state, GiB", "step, GiB", "by", "s a step", "time", "disk, GiB"]
    rows = []
    for one in found:
        config, seconds = one.run.config, one.step_seconds(utilisation)
        rows.append(
            [
                one.run.name,
                one.run.stage.init_from or one.run.config.train.init_from,
                f"{one.parameters / mega:,.1f}",
                amount(one.macs / giga),
                f"{config.train.steps:,}",
                f"{one.samples:,}",
                gib(one.state),
                gib(one.memory) + ("" if one.fits else " does not fit"),
                one.source,
                _known(seconds),
                duration(seconds * config.train.steps),
                gib(one.disk),
            ]
        )
    times = [one.step_seconds(utilisation) * one.run.config.train.steps for one in found]
    samples = f"{sum(one.samples for one in found):,}"
    rows.append(
        [
            "in all",
            "",
            "",
            "",
            "",
            samples,
            "",
            "",
            "",
            "",
            duration(sum(times)),
            gib(sum(c.disk for c in found)),
        ]
    )
    reasons = collections.defaultdict[str, list[str]](list)
    for one in found:
        if one.note:
            reasons[one.note].append(one.run.name)
    notes = [f"note: estimated for {', '.join(names)}: {note}" for note, names in reasons.items()]
    parts = [
        f"On {machine.name}.",
        table(header, rows),
        _legend(found, machine, utilisation),
        "\n".join(notes),
    ]
    return "\n\n".join(filter(None, parts))


def _legend(found: Sequence[Cost], machine: Target, utilisation: float) -> str:
    by = {
        "timed": "timed: the step compiled and timed here; samples and saves are not in the time.",
        "compiled": "compiled: the step as the machine's compiler makes it (ptdit_jax.plan).",
        "estimated": "estimated: counted from shapes (ptdit_jax.cost), on a device that holds the whole network and "
        "its share of the batch.",
    }
    text = "G MACs: one forward pass of one sample.  GiB: of one device; state between steps, step in all.  "
    text += "  ".join(by[source] for source in dict.fromkeys(one.source for one in found))
    if any(one.bounds for one in found):
        least = sum(one.step_seconds(1.0) * one.run.config.train.steps for one in found)
        known = dict.fromkeys(kind for one in found for kind in one.bounds)
        text += (
            f"  Time: the largest bound of {', '.join(known)}, with arithmetic at {utilisation:.0%} of the peak of the "
            f"{machine.count} chips (--utilisation); at 100%, {duration(least)} in all."
        )
    return text + "  Disk: all checkpoints that are kept, and one that is being written."


def status(recipe: Recipe) -> str:
    """A row a stage, and how many are what."""
    rows, states = [], []
    for run in recipe.runs.values():
        one = state.progress(run)
        states.append(one.state)
        left = "" if one.state in ("waiting", "done") or math.isnan(one.left) else duration(one.left)
        loss = "" if one.loss is None else f"{one.loss:.4f}"
        steps = f"{one.step:,} of {run.config.train.steps:,}"
        rows.append([run.name, run.stage.init_from, one.state, steps, loss, left, str(run.folder)])
    counts = ", ".join(f"{states.count(one)} {one}" for one in dict.fromkeys(states))
    header = ["stage", "starts from", "state", "steps", "loss", "left", "folder"]
    return f"{table(header, rows)}\n\n{counts}"


def duration(seconds: float) -> str:
    """In the largest unit of which there are two."""
    if math.isnan(seconds):
        return ""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / DAY
    if days >= 2:
        return f"{days:,.1f} days"
    if hours >= 2:
        return f"{hours:.1f} h"
    return f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _known(value: float) -> str:
    return "" if math.isnan(value) else amount(value)
