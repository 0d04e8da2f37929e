"""Shardings of everything a run holds, derived from the one table `axes.RULES`.

The networks name the axes of their parameters (`models.layers`), the data have "batch" first.
"""

from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ptdit_jax.parallel.axes import RULES


def spec(axes: tuple[str | None, ...], mesh: Mesh) -> PartitionSpec:
    """The partition of an array with these logical axes over the axes of a mesh that are longer than 1."""
    parts = [tuple(name for name in RULES[axis] if mesh.shape.get(name, 1) > 1) for axis in axes]
    return PartitionSpec(*(part[0] if len(part) == 1 else part or None for part in parts))


def batch_sharding(mesh: Mesh, *, leading: int = 0) -> NamedSharding:
    """Of arrays (..., B, ...) with the batch after `leading` axes that are whole on every device."""
    return NamedSharding(mesh, spec((*[None] * leading, "batch"), mesh))


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
    return jax.tree.map(lambda part: NamedSharding(mesh, part), param_specs(params, mesh))


def param_specs(params: nnx.State, mesh: Mesh) -> dict[str, Any]:
    """The partitions of `param_shardings`."""

    def partition(variable: nnx.Variable) -> PartitionSpec:
        axes = variable.get_metadata("out_sharding")
        assert len(axes) == len(variable.shape), (axes, variable.shape)
        return spec(axes, mesh)

    is_variable = lambda node: isinstance(node, nnx.Variable)  # noqa: E731
    return nnx.to_pure_dict(jax.tree.map(partition, params, is_leaf=is_variable))
