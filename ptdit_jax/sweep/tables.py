"""The table of a sweep: a row a point, as Parquet and CSV."""

import contextlib
import csv
import json
import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from grain.experimental import TFRecordIterDataset
from scipy.constants import mebi
from tensorboardX.proto.event_pb2 import Event

from ptdit_jax import config as rules
from ptdit_jax import files
from ptdit_jax.experiment import text_cost
from ptdit_jax.sweep import runs
from ptdit_jax.sweep.counts import count
from ptdit_jax.sweep.plans import Plan
from ptdit_jax.sweep.points import Sweep
from ptdit_jax.text_tables import triple

CURVE = 100  # points of a loss curve: each the mean of as many steps as there are to it
TAIL = 0.1  # share of the steps, the last ones, whose mean loss is the final loss
MEASURED = ("step_seconds", "images_per_second", "peak_rss_mib", "run_seconds", "attempts", "planned_mib")
"""Columns that depend on the machine and on interruptions; all others follow from the sweep and its seeds."""


def collect(sweep: Sweep, plans: Mapping[str, Plan]) -> pa.Table:
    """What all points cost and reached so far; cells that are not known are null.

    Columns: point, variant, seed, state, error; the fields in which points differ; family, tokens, window, ratio,
    parameters, macs (of one forward pass of one sample); planned_mib (memory of the compiled training step, bytes
    over 2**20); step_seconds and images_per_second (median over the points of TensorBoard), run_seconds (all
    attempts that were not killed), attempts, peak_rss_mib (the largest resident memory of the run's process, with
    Python, compiler and sampling); loss (mean of the last steps), loss_steps and loss_curve (means of equal
    stretches); and the figures of `evaluation.json`.  With text also the columns of
    `text_cost.columns`.

    Args:
      sweep: its points.
      plans: of the points, as far as there are any.
    """
    varied = sweep.varied
    rows = []
    for point in sweep.points:
        folder, config = sweep.folder(point.name), point.config
        flat, known, progress = rules.flatten(config), count(config), runs.progress(sweep, point)
        row: dict[str, Any] = {
            "point": point.name,
            "variant": point.variant,
            "seed": config.seed,
            "state": progress.state,
            "error": progress.error or None,
        }
        row |= {field: _cell(flat[field]) for field in varied}
        row |= {
            "family": config.model.family,
            "tokens": known.tokens,
            "window": triple(known.window) if known.window else None,
            "ratio": known.ratio,
            "parameters": known.parameters,
            "macs": known.macs,
            "planned_mib": plans[point.name].memory / mebi if point.name in plans else None,
        } | text_cost.columns(config)
        rows.append(row | _measured(folder, config) | _reached(folder, config, progress.state == "done"))
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def write(table: pa.Table, folder: Path) -> None:
    """Write `table.parquet` and `table.csv`, where lists are JSON."""
    files.write(folder / "table.parquet", lambda draft: pyarrow.parquet.write_table(table, draft))
    flat = table
    for i, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = [None if cell is None else json.dumps(cell) for cell in table[field.name].to_pylist()]
            flat = flat.set_column(i, field.name, pa.array(texts, pa.string()))
    files.write(folder / "table.csv", lambda draft: pyarrow.csv.write_csv(flat, draft))


def _cell(value: Any) -> Any:
    """A field as one value: sizes as 1x2x2, other tuples as text."""
    if isinstance(value, tuple):
        return triple(value) if all(isinstance(part, int) for part in value) else ", ".join(map(str, value))
    return value


def _measured(folder: Path, config: Any) -> dict[str, Any]:
    """Times and memory of a run, as far as it has come."""
    attempts = runs.read_attempts(folder)
    peaks = [row["peak_rss_bytes"] for row in attempts if row["peak_rss_bytes"]]
    seconds = list(scalars(folder / "tensorboard", "speed/step_seconds"))
    step = statistics.median(seconds) if seconds else None
    return {
        "step_seconds": step,
        "images_per_second": config.data.batch / step if step else None,
        "run_seconds": sum(row["seconds"] or 0 for row in attempts) if attempts else None,
        "attempts": len(attempts) or None,
        "peak_rss_mib": max(peaks) / mebi if peaks else None,
    }


def _reached(folder: Path, config: Any, is_done: bool) -> dict[str, Any]:
    """Losses and quality of a run that is done."""
    if not is_done:
        return {"loss": None, "loss_steps": None, "loss_curve": None}
    with (folder / "metrics.csv").open(newline="") as file:
        losses = np.array([float(row["loss"]) for row in csv.DictReader(file)])
    stretches = np.array_split(np.arange(len(losses)), min(CURVE, len(losses)))
    row: dict[str, Any] = {
        "loss": float(losses[-math.ceil(TAIL * len(losses)) :].mean()),
        "loss_steps": [float(part.mean()) + 1 for part in stretches],
        "loss_curve": [float(losses[part].mean()) for part in stretches],
    }
    verdict = folder / "evaluation.json"
    if verdict.exists():
        row |= {name: value for name, value in json.loads(verdict.read_text()).items() if name != "text"}
    return row


def scalars(folder: Path, tag: str) -> Iterator[float]:
    """The values of a curve on TensorBoard, of all its files; the last record of a killed process may be cut."""
    for path in sorted(folder.glob("events*")):
        with contextlib.suppress(ValueError):  # what the reader says of a record that is cut
            for record in TFRecordIterDataset(str(path)):
                summary = Event.FromString(record).summary
                yield from (value.simple_value for value in summary.value if value.tag == tag)
