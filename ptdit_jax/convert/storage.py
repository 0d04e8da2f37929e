"""Parameters in a checkpoint: nested dicts, written and read a gigabyte at a time."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from flax.traverse_util import flatten_dict

from ptdit_jax import models
from ptdit_jax.convert.layouts import base
from ptdit_jax.models import Architecture
from ptdit_jax.training import integrity


def flattened(tree: dict[Any, Any]) -> dict[base.Path, np.ndarray]:
    """Nested parameters as {path: array}, without copies; `unflatten_dict` is the inverse."""
    return {path: np.asarray(array) for path, array in flatten_dict(tree).items()}


def save(checkpoints: Path, params: Any, config: dict[str, Any]) -> None:
    """Write step 0 with the items `params` and `config`, holding at most a gigabyte more than `params`."""
    handlers = {
        # Compression would take most of the time, and random bits do not compress.
        "params": ocp.PyTreeCheckpointHandler(save_concurrent_gb=1, use_compression=False),
        "config": ocp.JsonCheckpointHandler(),
    }
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    with ocp.CheckpointManager(checkpoints, options=options, item_handlers=handlers) as manager:
        args = ocp.args.Composite(params=ocp.args.PyTreeSave(params), config=ocp.args.JsonSave(config))
        manager.save(0, args=args)
    integrity.seal(checkpoints / "0")


def restore(step: Path, name: str, arch: Architecture) -> Any:
    """Parameters of a checkpoint: nested dicts of arrays on the first device; reads a gigabyte at a time.

    Raises:
      CheckpointError: they cannot be read, or belong to another network.
    """
    state = nnx.state(nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0))), nnx.Param)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), nnx.to_pure_dict(state)
    )
    args = ocp.args.PyTreeRestore(abstract, ocp.checkpoint_utils.construct_restore_args(abstract))
    handler = ocp.PyTreeCheckpointHandler(restore_concurrent_gb=1)
    with integrity.reading(step), ocp.Checkpointer(handler) as checkpointer:
        return checkpointer.restore(step / name, args=args)
