"""The records of a run: what their values are at its start, and which of them a bad step is due to."""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines import open_source, values
from ptdit_jax import files
from ptdit_jax.experiment.results import is_visible


def look(config: Any) -> None:
    """Print what the values of some records are, beside what the path from data to noise expects; on every process.

    Raises:
      ValueError: they cannot be meant, or some are not finite and `train.on_nonfinite` is "stop".
    """
    pixels = is_visible(config)
    found = values.look(config.data, open_source(config.data))
    bad = f"data.name={config.data.name!r}: values that are not finite in {_some(found.not_finite)}"
    if found.not_finite and config.train.on_nonfinite == "stop":
        raise ValueError(f"{bad}; with --config.train.on_nonfinite=skip the run leaves their steps out")
    if jax.process_index() == 0:
        print(found.line(pixels=pixels))
        warnings = [bad] if found.not_finite else []
        for line in filter(None, (*warnings, found.warning(pixels=pixels))):
            print(f"warning: {line}", file=sys.stderr)


def blame(config: Any, workdir: Path, step: int, records: np.ndarray) -> str:
    """Say which records of a bad step are not finite; where all are, write their numbers into the run's folder.

    Args:
      config: the whole config.
      workdir: the run's folder.
      step: its number.
      records: this process's part of its batch, (B,).
    """
    found = values.not_finite(open_source(config.data), records)
    whose = f" of process {jax.process_index()}" if jax.process_count() > 1 else ""
    if found:
        return f"Values that are not finite are in {_some(found)}{whose}"
    name = f"bad_step_{step}-p{jax.process_index()}.json"
    content = {"step": step, "data": config.data.to_dict(), "seed": config.seed, "records": records.tolist()}
    files.write(workdir / name, lambda draft: draft.write_text(json.dumps(content, indent=1) + "\n"))
    return f"The data are finite; {_some(records.tolist())}{whose}: all in {workdir / name}"


def _some(records: Any) -> str:
    more = f" and {len(records) - 8} more" if len(records) > 8 else ""
    return f"record{'s' * (len(records) > 1)} {', '.join(map(str, records[:8]))}{more}"
