"""The records of a run: what their values are at its start, and which of them a bad step is due to."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from data_pipelines import open_source, values
from ptdit_jax import files
from ptdit_jax.experiment import live_text
from ptdit_jax.experiment.decoding import is_visible

NAMED = 8  # records that a message names at most


def look(config: Any) -> None:
    """Print what the values of some records are, beside what the path from data to noise expects.

    Every process looks at the same records, so that all end if they must; process 0 prints.

    Raises:
      ValueError: they cannot be meant, or some are not finite and `train.on_nonfinite` is "stop".
    """
    pixels = is_visible(config)
    found = values.look(config.data, open_source(config.data), states=_states(config))
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

    All processes call this for the same step: each looks at its own records, and all say the same.

    Args:
      config: the whole config.
      workdir: the run's folder, for `bad_step_STEP.json`.
      step: its number.
      records: this process's part of its batch, (B,) int64.

    Raises:
      ValueError: one of the records cannot be read again.
    """
    found = values.not_finite(open_source(config.data), records, states=_states(config))
    both = np.stack([records, np.isin(records, found)], axis=1)  # (B, 2) int64, which JAX would cut to int32
    gathered = multihost_utils.process_allgather(both.view(np.int32), tiled=True)
    batch, bad = np.ascontiguousarray(gathered).view(np.int64).T
    if bad.any():
        return f"Values that are not finite are in {_some(_distinct(batch[bad > 0]))}"
    path, distinct = workdir / f"bad_step_{step}.json", _distinct(batch)
    if jax.process_index() == 0:
        content = {"step": step, "seed": config.seed, "data": config.data.to_dict(), "records": distinct}
        files.write(path, lambda draft: draft.write_text(json.dumps(content, indent=1) + "\n"))
    return f"The data are finite; {_some(distinct)}: all in {path}"


def _states(config: Any) -> int:
    """How many text states of a record the network takes at most."""
    stored = config.model.condition == "text" and not live_text.is_live(config)
    return config.model.text_length if stored else 0


def _distinct(records: np.ndarray) -> list[int]:
    """Each record once: processes of one part of the batch have the same."""
    return list(dict.fromkeys(records.tolist()))


def _some(records: Sequence[int]) -> str:
    more = f" and {len(records) - NAMED} more" if len(records) > NAMED else ""
    return f"record{'s' * (len(records) > 1)} {', '.join(map(str, records[:NAMED]))}{more}"
