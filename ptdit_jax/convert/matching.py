"""Whether a file of weights is that of a config's network: its layout, its names, what is beside it, its positions."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from ptdit_jax.convert import dit_or_sit, layouts
from ptdit_jax.convert.layouts import config_json, foreign
from ptdit_jax.convert.layouts.base import Layout
from ptdit_jax.convert.weights import Weights
from ptdit_jax.experiment import null_text
from ptdit_jax.models import Architecture

BUFFER_TOLERANCE = 0.01  # half-precision files round the positions; other positions differ by 1 and more


def match(found: Weights, arch: Architecture, config: Any) -> Layout:
    """Hold a file against a network and print what is assumed of it.

    Args:
      found: the weights.
      arch: the network of `config`.
      config: the config.

    Returns:
      The layout of the file.

    Raises:
      ValueError: the file is of another network.
    """
    if foreign.class_name(found.facts):
        config_json.check_class(found.facts, str(_config_file(found)))
    layout = layouts.choose(found.shapes, arch, found.path)
    if foreign.class_name(found.facts):
        config_json.check(found.facts, layout, arch, str(_config_file(found)))
        if (given := found.facts.get("norm_eps")) not in (None, 1e-6):
            print(f"{_config_file(found)}: norm_eps is {given}; 1e-06, the authors', is used")
    layout.check(found.shapes, arch)
    check_positions(found, layout, arch, config.data.frames)
    if layout.family == "dit":
        dit_or_sit.check(found, layout, arch, config)
    return layout


def _config_file(found: Weights) -> Path:
    return found.path.parent / "config.json"


def check_positions(found: Weights, layout: Layout, arch: Architecture, frames: int) -> None:
    """Compare the stored table of positions, where there is one, with that of the config.

    Raises:
      ValueError: it is another one, and the family does not compute its positions anew for each size.
    """
    if layout.buffer not in found.tensors:
        return
    wanted, stored = layout.positions(arch, frames), found.read(layout.buffer)
    if stored.shape != wanted.shape:
        problem = (
            f"{layout.buffer} has shape {stored.shape}, not {wanted.shape}: model.sample_size={arch.sample_size}, "
            f"model.patch={arch.patch} or data.frames={frames} are not those of the weights"
        )
    elif not (difference := np.abs(stored - wanted).max()) <= BUFFER_TOLERANCE:
        problem = (
            f"{layout.buffer} differs by up to {difference:.2g} from the positions of the config's network"
        )
    else:
        return
    if layout.family != "pixart":
        raise ValueError(problem)
    # The authors' code drops the table of a file, and computes the one of its size.
    print(f"warning: {problem}; those of model.sample_size={arch.sample_size} are used", file=sys.stderr)


def stored_null_text(found: Weights, layout: Layout, config: Any) -> null_text.NullText | None:
    """The learned states of the empty caption in a file, at the length of the model, or None.

    Raises:
      ValueError: they are not of the config's sizes, or not finite.
    """
    if layout.null_text not in found.tensors:
        return None
    states, model = found.read(layout.null_text), config.model
    if states.ndim != 2 or states.shape[1] != model.text_dim or len(states) > model.text_length:
        raise ValueError(
            f"{layout.null_text} has shape {states.shape}; model.text_length={model.text_length} and model.text_dim="
            f"{model.text_dim} take ({model.text_length}, {model.text_dim})"
        )
    if model.null_mask == "own":
        print(
            f"warning: {layout.null_text} is learned with the mask of the caption that it replaces; guidance with "
            "model.null_mask='own' counts all of its tokens, 'caption' does as the authors' code",
            file=sys.stderr,
        )
    return null_text.padded(config, states)
