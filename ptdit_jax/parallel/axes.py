"""The mesh axes, and what one device does with its share of an array.

A mesh has up to four axes (`configs/common.py`, section `mesh`):

    data      replicas of the network, each with its share of the samples
    fsdp      the same for samples; parameters, their averages and moments are split too, and gathered for use
    tensor    attention heads and the MLP's hidden features are split (arXiv 1909.08053)
    context   the windows of each sample are split; parameters as along fsdp

`RULES` says where each logical axis of an array lies; `parallel.rules` makes shardings of it.  The networks are
written for the share of one device: under `jax.shard_map` over the whole mesh (`experiment.sharded_network`) a
parameter is narrower than declared, and the functions below complete it.  Without a mesh nothing is narrower, and they
return what they are given.
"""

import math
from collections.abc import Mapping

import jax
from flax import nnx

DATA, FSDP, TENSOR, CONTEXT = AXES = ("data", "fsdp", "tensor", "context")

RULES: dict[str | None, tuple[str, ...]] = {
    "batch": (DATA, FSDP),  # every replica has its share of the samples
    "slab": (CONTEXT,),  # the axis of the latents along which windows are split
    "embed": (FSDP, CONTEXT),  # D of parameters, averages and moments
    "heads": (TENSOR,),
    "mlp": (TENSOR,),
    "layers": (),  # blocks are scanned one after the other
    None: (),
}


def filled(sizes: Mapping[str, int], devices: int) -> dict[str, int]:
    """Sizes of mesh axes with the devices that the others leave for the one of -1, if there is one."""
    fixed = math.prod(size for size in sizes.values() if size > 0)
    return {axis: devices // fixed if size == -1 else size for axis, size in sizes.items()}


def whole(param: nnx.Variable, dtype=None) -> jax.Array:
    """A parameter, cast to `dtype`, with the features that fsdp and context split gathered from all devices.

    The gather's transpose adds the gradients of all devices and leaves each its share (ZeRO, arXiv 1910.02054).
    Heads and hidden features that `tensor` splits stay split.
    """
    value = param[...] if dtype is None else param[...].astype(dtype)
    shape, axes = declared(param)
    for i, axis in enumerate(axes):
        if value.shape[i] != shape[i] and axis == "embed":
            # Marked as different along `data` before the gather, so that gradients are added over `data` when
            # they are down to this device's share already.
            value = jax.lax.pcast(value, _used((DATA,)), to="varying")
            # One axis at a time: of sums over two at once, a TPU makes all-reduces, which move twice as much.
            for name in reversed(_used(RULES["embed"])):
                value = jax.lax.all_gather(value, name, axis=i, tiled=True)
    return value


def reduce_tensor(y: jax.Array, kernel: nnx.Param) -> jax.Array:
    """y, a product that contracted the first axis of `kernel`, summed over `tensor` where that splits it."""
    shape, axes = declared(kernel)
    split = kernel.shape[0] != shape[0] and TENSOR in RULES[axes[0]]
    return jax.lax.psum(y, TENSOR) if split else y


def declared(param: nnx.Variable) -> tuple[tuple[int, ...], tuple[str | None, ...]]:
    """Shape and logical axes of a parameter on one device, as `models.layers.parameter` was called with them."""
    shape = param.get_metadata("whole_shape")
    return shape, tuple(param.get_metadata("out_sharding"))[-len(shape) :]


def varying(x: jax.Array) -> frozenset[str]:
    """Mesh axes along which devices have other values of an array inside `jax.shard_map`; none outside."""
    return jax.typeof(x).manual_axis_type.varying


def as_varying(x: jax.Array, axes: frozenset[str]) -> jax.Array:
    """x, marked as different along these mesh axes too: its gradient is summed over them here."""
    missing = axes - varying(x)
    return jax.lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x


def _used(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if _size(name) > 1)


def _size(name: str) -> int:
    """Devices along a mesh axis; 1 for an axis that the mesh does not have."""
    try:
        return jax.lax.axis_size(name)
    except NameError:
        return 1
