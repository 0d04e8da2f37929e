"""A config as text, and what may change of it when a run goes on."""

import contextlib
import json
from typing import Any

from flax.traverse_util import flatten_dict

from configs import common
from data_pipelines.mixture import without_paths
from ptdit_jax.config.derived import Config
from ptdit_jax.models.variants import resolve_positions

HARMLESS = (
    "train.steps",  # with a constant schedule only
    "train.log_every",
    "train.on_nonfinite",
    "checkpoint.",
    "sampling.",
    "evaluation.",
    "data.path",
    "data.max_shapes",
    "text_encoder.path",  # where the same encoder lies: what it makes of "" is compared
    "data.read_threads",
    "data.prefetch",
    "profile.",
    "encode.",
    "mesh.",  # the same function; sums over devices may round differently
    "model.remat",
    "model.attention",
    "model.attention_chunk",
    "model.unroll",
)
"""Fields, and sections ending with a dot, that a resumed run may change: parameters keep their meaning."""


def flatten(config: Config) -> dict[str, Any]:
    """`{"model.depth": 6, ...}`, in the order of the file."""
    return flatten_dict(config.to_dict(), sep=".")


def to_json(config: Config) -> str:
    """The config as indented JSON; tuples become arrays."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def from_json(text: str) -> Config:
    """The locked config that `to_json` wrote; arrays become tuples, fields added since have their defaults.

    Raises:
      ValueError: the text is no config, or has a field that does not exist.
    """
    try:
        fields = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"this is no config: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"this is no config but a {type(fields).__name__}")
    config = common.get_config()
    for field, value in flatten_dict(fields, sep=".").items():
        try:
            config.update_from_flattened_dict({field: _tuples(value)})
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{field}={value!r} is no field of this version of ptdit_jax: {error}"
            ) from error
    return config


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def conflicts(saved: Config, config: Config) -> list[str]:
    """Why a run with `saved` cannot be continued with `config`: one line a field, none when it can."""
    old, new = flatten(saved), flatten(config)
    for flat in (old, new):  # "auto" and what it stands for are the same
        flat["data.mixture"] = without_paths(flat["data.mixture"])  # folders may move, as data.path may
        with contextlib.suppress(KeyError, ValueError):
            flat["model.positions"] = resolve_positions(flat["model.family"], flat["model.positions"])
    changed = [field for field in new if old[field] != new[field]]
    lines = [f"{f}={new[f]!r}, was {old[f]!r}" for f in changed if not f.startswith(HARMLESS)]
    if config.evaluation.every or saved.evaluation.every:  # metrics.csv of a run keeps its columns
        names = ("evaluation.every", "evaluation.name", "evaluation.metrics")
        same = bool(saved.evaluation.every) == bool(config.evaluation.every)
        lines += [f"{f}={new[f]!r}, was {old[f]!r}" for f in names[same:] if f in changed]
    if "train.steps" in changed and config.optimizer.schedule != "constant":
        lines.append(
            f"train.steps={config.train.steps}, was {saved.train.steps}: the {config.optimizer.schedule!r} "
            "schedule of the learning rate depends on it"
        )
    return lines
