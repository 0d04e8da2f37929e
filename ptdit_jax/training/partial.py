"""Parameters of a checkpoint for a network that may be another: what it has, and some of it."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict, unflatten_dict

from ptdit_jax.training import integrity

Shapes = dict[str, tuple[int, ...]]
"""Of tensors, by name: the keys of the nested dict that each lies in, with dots between them."""


def named(tree: dict[Any, Any]) -> dict[str, Any]:
    """The leaves of nested dicts by their names."""
    return {".".join(map(str, path)): leaf for path, leaf in flatten_dict(tree).items()}


def shapes(step: Path, part: str) -> Shapes:
    """The shapes of the arrays in one part of a step; every process is to call it, and all get the same.

    Args:
      step: its folder, whole (`integrity.require_whole`).
      part: "params" or `state.ema_name(decay)`.

    Raises:
      CheckpointError: they cannot be read.
    """
    found, error = integrity.decided_by_first(lambda: _shapes(step, part))
    if error:
        raise integrity.CheckpointError(error)
    return {name: tuple(shape) for name, shape in found.items()}


def _shapes(step: Path, part: str) -> tuple[Shapes, str | None]:
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    try:
        with (
            integrity.reading(step),
            ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer,
        ):
            tree = checkpointer.metadata(step / part).item_metadata.tree
            return {name: tuple(leaf.shape) for name, leaf in named(tree).items()}, None
    except integrity.CheckpointError as error:
        return {}, str(error)


def load(step: Path, part: str, into: dict[Any, Any], but: tuple[str, ...]) -> dict[Any, Any]:
    """Parameters of a step in the place of others.

    Args:
      step: its folder, whole.
      part: as in `shapes`.
      into: nested dict of arrays, whose shapes, dtypes and shardings the loaded ones get.
      but: names of those arrays that are left as they are.

    Raises:
      CheckpointError: they cannot be read.
    """
    flat: dict[Any, Any] = flatten_dict(into)
    abstract = unflatten_dict(
        {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
            for path, leaf in flat.items()
            if ".".join(map(str, path)) not in but
        }
    )
    args = ocp.args.PyTreeRestore(
        abstract, ocp.checkpoint_utils.construct_restore_args(abstract), partial_restore=True
    )
    with integrity.reading(step), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        loaded = checkpointer.restore(step / part, args=args)
    taken: dict[Any, Any] = flatten_dict(loaded)
    return unflatten_dict(flat | taken)
