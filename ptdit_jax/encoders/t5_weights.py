"""The weights of a T5 encoder on their way between files and our parameters, one tensor at a time.

In memory are the parameters, one tensor, and what is mapped of one file.

Shapes: K captions, L tokens, E width, N blocks.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import unflatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from ptdit_jax.encoders.t5 import (
    T5Architecture,
    T5Block,
    abstract,
    position_bias,
    relative_buckets,
    rms_norm,
)
from ptdit_jax.encoders.t5_layout import FLOAT32, Place, flattened, names, turned
from ptdit_jax.parallel.rules import param_specs
from ptdit_jax.weight_files.reader import Tensor

Progress = Callable[[Iterable[Any], int], Iterable[Any]]
"""(items, how many) -> the items, counted as they are used."""


def digest(tensors: Mapping[str, np.ndarray | Tensor]) -> str:
    """A checksum of the values in float32, whatever file and dtype they are in: sha256, hex."""
    found = {}
    for name, tensor in tensors.items():
        found[name] = _digest(tensor.read() if isinstance(tensor, Tensor) else tensor)
    return combine(found)


def combine(digests: Mapping[str, str]) -> str:
    """One checksum of those of all tensors, in any order."""
    text = "\n".join(f"{name} {digests[name]}" for name in sorted(digests))
    return hashlib.sha256(text.encode()).hexdigest()


def load(
    tensors: dict[str, Tensor],
    arch: T5Architecture,
    *,
    dtype: Any,
    mesh: Mesh | None = None,
    progress: Progress = lambda items, total: items,
) -> tuple[dict[str, Any], str]:
    """Parameters on the devices, and the checksum of their tensors.

    Every process reads every tensor and keeps what its devices hold.

    Args:
      tensors: from `open_folder`; emptied, so that no file stays mapped.
      arch: the encoder.
      dtype: of the kernels and the embedding; norms and biases are float32.
      mesh: the devices, over which the axes are split; None for the first of this process.
      progress: counts the tensors.

    Returns:
      A nested dict, as `nnx.merge` takes it with the graph of `t5.abstract`, and `digest(tensors)`.

    Raises:
      ValueError: a tensor holds values that are not finite, or cannot be read.
    """
    state = abstract(arch)[1]
    specs = flattened(param_specs(state, mesh)) if mesh is not None else {}
    device = SingleDeviceSharding(jax.local_devices()[0])

    def place(path: Place, *, stacked: bool) -> Sharding:
        if mesh is None:
            return device
        return NamedSharding(mesh, specs[path] if stacked else PartitionSpec(*specs[path][1:]))

    def kind(path: Place) -> Any:
        return jnp.float32 if path[-1] in FLOAT32 else dtype

    flat: dict[Place, jax.Array] = {}
    leaves = flattened(nnx.to_pure_dict(state))
    table, digests = names(arch), {}
    for name in progress(list(tensors), len(tensors)):
        array = read(tensors.pop(name), name)
        digests[name] = _digest(array)
        path, block = table[name]
        part = turned(array, path).astype(kind(path))
        where = place(path, stacked=block is None)
        piece = jax.make_array_from_callback(part.shape, where, lambda index, part=part: part[index])
        if block is None:
            flat[path] = piece
            continue
        if path not in flat:
            flat[path] = _zeros(leaves[path].shape, jnp.dtype(kind(path)), place(path, stacked=True))
        flat[path] = _put(flat[path], piece, block)
        flat[path].block_until_ready()  # or pieces would wait in memory
    return unflatten_dict(flat), combine(digests)


def abstract_params(arch: T5Architecture, *, dtype: Any, mesh: Mesh) -> dict[str, Any]:
    """What `load` gives, without values: shapes, dtypes and places."""
    state = abstract(arch)[1]
    specs, leaves = flattened(param_specs(state, mesh)), flattened(nnx.to_pure_dict(state))
    return unflatten_dict(
        {
            path: jax.ShapeDtypeStruct(
                leaf.shape,
                jnp.float32 if path[-1] in FLOAT32 else dtype,
                sharding=NamedSharding(mesh, specs[path]),
            )
            for path, leaf in leaves.items()
        }
    )


def read(tensor: Tensor, name: str) -> np.ndarray:
    """A tensor as float32.

    Raises:
      ValueError: it holds values that are not finite, or cannot be read.
    """
    array = tensor.read()
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
    return array


def to_tensors(params: Mapping[str, Any], arch: T5Architecture) -> Iterator[tuple[str, np.ndarray]]:
    """(name in `transformers`, float32 array) of parameters, in the order of `shapes`."""
    flat = flattened(params)
    for name, (path, block) in names(arch).items():
        array = flat[path] if block is None else flat[path][block]
        yield name, turned(np.asarray(array, np.float32), path)


def encode_exactly(
    tensors: Mapping[str, Tensor], arch: T5Architecture, ids: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """States (K, L, E) in float32 on one device, with the weights of one block in memory at a time.

    The same numbers on any mesh and for any dtype that the encoder has otherwise.

    Args:
      tensors: from `open_folder`.
      arch: the encoder.
      ids: (K, L) int32.
      mask: (K, L) bool.
    """
    table = names(arch)
    named = {where: name for name, where in table.items()}

    def value(*path: str, block: int | None = None) -> np.ndarray:
        return turned(read(tensors[named[path, block]], named[path, block]), path)

    buckets = relative_buckets(ids.shape[1], arch.buckets, arch.max_distance)
    bias = None if arch.own_bias else position_bias(jnp.asarray(value("bias")), buckets)
    block_names = [path[1] for path, block in table.values() if block == 0]
    x = jnp.asarray(value("embedding")[ids])
    for i in range(arch.depth):
        params = {name: value("blocks", name, block=i) for name in block_names}
        own = position_bias(jnp.asarray(params["bias"]), buckets) if bias is None else bias
        x = _run_block(arch, params, x, jnp.asarray(mask), own)
    return np.asarray(rms_norm(x, jnp.asarray(value("final_norm")), arch.eps))


@functools.partial(jax.jit, static_argnums=0)
def _run_block(
    arch: T5Architecture, params: Any, x: jax.Array, mask: jax.Array, bias: jax.Array
) -> jax.Array:
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: T5Block(arch, rngs=nnx.Rngs(0))))
    with jax.default_matmul_precision("float32"):
        return nnx.merge(graphdef, params)(x, mask, bias, jnp.float32)


@functools.partial(jax.jit, donate_argnums=0)
def _put(stack: jax.Array, piece: jax.Array, block: int) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(stack, piece, block, 0)


def _zeros(shape: tuple[int, ...], dtype: Any, where: Sharding) -> jax.Array:
    return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=where)()


def _digest(array: np.ndarray) -> str:
    heading = f"{array.shape}".encode()
    content = np.ascontiguousarray(array, "<f4")
    return hashlib.sha256(heading + b"\n" + content.reshape(-1).view(np.uint8).data).hexdigest()
