"""Trained parameters from a checkpoint, ready to sample from."""

from pathlib import Path
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from ptdit_jax.experiment.build import Experiment
from ptdit_jax.parallel.rules import replicated
from ptdit_jax.training import checkpoint


def load_params(step: Path, name: str, experiment: Experiment, mesh: Mesh) -> Any:
    """One set of parameters of a checkpoint, whole on every device.

    Args:
      step: the folder of one step, see `checkpoint.find`.
      name: "params" or `state.ema_name(decay)`.
      experiment: what the checkpoint's config describes.
      mesh: the devices.

    Returns:
      The nested dict that `experiment.network` takes.

    Raises:
      CheckpointError: it cannot be read, or the checkpoint has no such parameters.
    """
    whole = replicated(mesh)
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole),
        nnx.to_pure_dict(experiment.abstract),
    )
    return checkpoint.load_params(step, name, abstract)
