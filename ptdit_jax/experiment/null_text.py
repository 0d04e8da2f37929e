"""The empty caption of a text-conditional run: what it trains as the null condition, and what guidance then guides by.

It comes with the data, and a run keeps its own in its folder, so that its samples are guided by no other.

Shapes: L text tokens, E text features.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from data_pipelines import open_source
from data_pipelines.text import NULL_FILE, pad, read_null, write_null
from ptdit_jax import files
from ptdit_jax.experiment import live_text

NullText = tuple[np.ndarray, np.ndarray]
"""States (L, E) float32 and mask (L,) bool."""


def of_data(config: Any) -> NullText | None:
    """The empty caption of `config.data`, or None for a model without text or data without it."""
    if config.model.condition != "text":
        return None
    if live_text.is_live(config):
        return padded(config, live_text.null(config))
    text = open_source(config.data).text
    return None if text is None or text.null is None else padded(config, text.null)


def of_run(config: Any, workdir: Path) -> NullText | None:
    """The empty caption that a run's folder keeps, or None if it has none.

    Raises:
      ValueError: its file cannot be read.
    """
    states = read_null(workdir, config.model.text_dim)
    return None if states is None else padded(config, states)


def folder_of(step: Path) -> Path:
    """The folder that keeps the empty caption of a checkpoint: its run's; of a copy, itself or the one around it.

    Args:
      step: the folder of one step, see `checkpoint.find`.
    """
    step = step.resolve()
    if step.parent.name == "checkpoints":
        return step.parent.parent
    beside = (step.parent / NULL_FILE).exists() and not (step / NULL_FILE).exists()
    return step.parent if beside else step


def padded(config: Any, states: np.ndarray) -> NullText:
    """Stored states (l, E) of the empty caption at the length of the model.

    Raises:
      ValueError: they do not fit, see `data_pipelines.text.pad`.
    """
    return pad(states, config.model.text_length, name="the empty caption")


def equal(one: NullText, other: NullText) -> bool:
    """Whether two are the same, bit for bit."""
    return all(map(np.array_equal, one, other))


def near(one: NullText, other: NullText) -> bool:
    """Whether two are the same but for rounding, which machines do in different ways."""
    return np.array_equal(one[1], other[1]) and np.allclose(one[0], other[0], rtol=1e-3, atol=1e-3)


def keep(config: Any, workdir: Path, null: NullText, *, started: bool) -> None:
    """Write the empty caption of the data into a run's folder.

    Args:
      config: the whole config.
      workdir: the run's folder.
      null: of the data.
      started: the run goes on, so that what its folder has must be the same.

    Raises:
      ValueError: it is not.
    """
    kept = of_run(config, workdir) if started else None
    if kept is None:
        if jax.process_index() == 0:
            files.write(workdir / NULL_FILE, lambda draft: write_null(draft, *null))
    elif not (near(kept, null) if live_text.is_live(config) else equal(kept, null)):
        whose = (
            f"the empty caption that text_encoder.path={config.text_encoder.path!r} gives; use another --workdir, or "
            "the same encoder"
        )
        if live_text.is_live(config):
            raise ValueError(f"{workdir / NULL_FILE}, which the run was started with, is not {whose}")
        raise ValueError(
            f"{workdir / NULL_FILE}, which the run was started with, is not the empty caption that data.path="
            f"{config.data.path!r} has now; use another --workdir, or data with the same"
        )
