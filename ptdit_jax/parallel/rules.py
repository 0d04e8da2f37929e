"""Which logical axis of an array lies along which axes of the mesh: the only place that says so.

The networks name the axes of their parameters (`models.layers`), the data have "batch" first, and everything
else is derived here.
"""

from typing import Any

import jax
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ptdit_jax.training.state import Guard, TrainState

RULES: dict[str | None, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),  # every device has its share of the samples
    "embed": ("fsdp",),  # parameters, averages and moments are split along D, gathered for use
    "heads": (),
    "mlp": (),
    "layers": (),  # blocks are scanned one after the other
    None: (),
}


def spec(axes: tuple[str | None, ...]) -> PartitionSpec:
    """The partition of an array with these logical axes."""
    return PartitionSpec(*(RULES[axis] or None for axis in axes))


def batch_sharding(mesh: Mesh, *, leading: int = 0) -> NamedSharding:
    """Of arrays (..., B, ...) with the batch after `leading` axes that are whole on every device."""
    return NamedSharding(mesh, spec((*[None] * leading, "batch")))


def replicated(mesh: Mesh) -> NamedSharding:
    """Of arrays that every device has whole."""
    return NamedSharding(mesh, PartitionSpec())


def param_shardings(params: nnx.State, mesh: Mesh) -> dict[str, Any]:
    """The shardings of a network's parameters.

    Args:
      params: abstract or real, as `nnx.split` gives them, with the names of their axes.
      mesh: the devices.

    Returns:
      A nested dict like `nnx.to_pure_dict(params)`.
    """

    def sharding(variable: nnx.Variable) -> NamedSharding:
        axes = variable.get_metadata("out_sharding")
        assert len(axes) == len(variable.shape), (axes, variable.shape)
        return NamedSharding(mesh, spec(axes))

    is_variable = lambda node: isinstance(node, nnx.Variable)  # noqa: E731
    return nnx.to_pure_dict(jax.tree.map(sharding, params, is_leaf=is_variable))


def state_shardings(
    state: TrainState, params: dict[str, Any], direction: optax.GradientTransformation, mesh: Mesh
) -> Any:
    """A `TrainState` of shardings: averages and moments lie where their parameters do.

    Args:
      state: abstract.
      params: from `param_shardings`.
      direction: the transformation that `state.opt_state` belongs to.
      mesh: the devices.
    """
    whole: Any = replicated(mesh)
    return TrainState(
        step=whole,
        params=params,
        opt_state=optax.tree.map_params(
            direction, lambda _, place: place, state.opt_state, params, transform_non_params=lambda _: whole
        ),
        emas={name: params for name in state.emas},
        guard=Guard(whole, whole),
    )
