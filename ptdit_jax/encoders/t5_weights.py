"""Weights of a T5 encoder: their names in `transformers`, and the way between its files and our parameters.

They are read one tensor at a time: in memory are the parameters, one tensor, and what is mapped of one file.

Shapes: K captions, L tokens, E width, N blocks.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from ptdit_jax.encoders.t5 import (
    T5Architecture,
    T5Block,
    abstract,
    position_bias,
    relative_buckets,
    rms_norm,
)
from ptdit_jax.parallel.rules import param_specs
from ptdit_jax.weight_files import json_files, reader
from ptdit_jax.weight_files.reader import Tensor

FILES = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
"""The files of weights that a folder may have; the first that it has is read."""
EMBEDDING, DOUBLE = "shared.weight", "encoder.embed_tokens.weight"
"""The two names of the embedding of tokens; a file has one of them, or both."""
OTHERS = ("decoder.", "lm_head.")  # what a whole T5 has besides its encoder
FLOAT32 = ("attention_norm", "mlp_norm", "final_norm", "bias")  # so in any parameters: they are small

Path_ = tuple[str, ...]
Progress = Callable[[Iterable[Any], int], Iterable[Any]]
"""(items, how many) -> the items, counted as they are used."""


def names(arch: T5Architecture) -> dict[str, tuple[Path_, int | None]]:
    """{name in `transformers`: (path of our parameter, number of the block or None)}.

    Kernels are (out, in) there and (in, out) here.
    """
    attention, mlp = "layer.0.SelfAttention", "layer.1.DenseReluDense"
    block = {
        "attention_norm": "layer.0.layer_norm",
        **{name: f"{attention}.{name}" for name in ("q", "k", "v", "o")},
        "mlp_norm": "layer.1.layer_norm",
        **({"wi": f"{mlp}.wi_0", "wi_gated": f"{mlp}.wi_1"} if arch.gated else {"wi": f"{mlp}.wi"}),
        "wo": f"{mlp}.wo",
    }
    bias = f"{attention}.relative_attention_bias"
    found: dict[str, tuple[Path_, int | None]] = {EMBEDDING: (("embedding",), None)}
    for i in range(arch.depth):
        for name, theirs in (block | ({"bias": bias} if arch.own_bias else {})).items():
            found[f"encoder.block.{i}.{theirs}.weight"] = (("blocks", name), i)
    if not arch.own_bias:
        found[f"encoder.block.0.{bias}.weight"] = (("bias",), None)
    return found | {"encoder.final_layer_norm.weight": (("final_norm",), None)}


def shapes(arch: T5Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a file."""
    leaves = _flat(nnx.to_pure_dict(abstract(arch)[1]))
    return {
        name: _turned(leaves[path].shape[0 if block is None else 1 :], path)
        for name, (path, block) in names(arch).items()
    }


def open_folder(folder: Path, arch: T5Architecture) -> dict[str, Tensor]:
    """The tensors of the encoder in a folder, in the order in which its files have them.

    Raises:
      ValueError: they cannot be read, or are not those of the architecture.
      OSError: there is no such folder.
    """
    file = next((folder / name for name in FILES if (folder / name).is_file()), None) or reader.find(folder)
    tensors = reader.open_file(file)[0]
    placed = json_files.read(file, "index of weights")["weight_map"] if file.suffix == ".json" else {}
    order = sorted(tensors, key=lambda name: placed.get(name, ""))  # one file after the other
    return check({name: tensors[name] for name in order}, arch, str(file))


def check(tensors: Mapping[str, Tensor], arch: T5Architecture, where: str) -> dict[str, Tensor]:
    """The tensors of an encoder, its embedding under one name, without those of a decoder.

    Args:
      tensors: by their names in `transformers`.
      arch: the encoder.
      where: the file, for messages.

    Raises:
      ValueError: one of them is missing, unknown, or has another shape or dtype.
    """
    found = {name: tensor for name, tensor in tensors.items() if not name.startswith(OTHERS)}
    if DOUBLE in found:
        double = found.pop(DOUBLE)
        if EMBEDDING in found and not np.array_equal(double.read(), found[EMBEDDING].read()):
            raise ValueError(f"{where}: {EMBEDDING} and {DOUBLE} differ; an encoder has one embedding")
        found.setdefault(EMBEDDING, double)
    wanted = shapes(arch)
    for name, shape in wanted.items():
        if name not in found:
            raise ValueError(f"{where} lacks {name} of shape {shape}, which its config.json asks for")
        if found[name].shape != shape:
            raise ValueError(
                f"{where}: {name} has shape {found[name].shape}, its config.json asks for {shape}"
            )
        if "float" not in (dtype := found[name].dtype.lower()) and not dtype.startswith(("f", "bf")):
            raise ValueError(
                f"{where}: {name} is of {found[name].dtype}, it must be of floating-point numbers"
            )
    if unknown := [name for name in found if name not in wanted]:
        raise ValueError(
            f"{where}: {unknown[0]} of shape {found[unknown[0]].shape} is no tensor of the encoder that its "
            "config.json describes"
        )
    return found


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
    specs = _flat(param_specs(state, mesh)) if mesh is not None else {}
    device = SingleDeviceSharding(jax.local_devices()[0])

    def place(path: Path_, *, stacked: bool) -> Sharding:
        if mesh is None:
            return device
        return NamedSharding(mesh, specs[path] if stacked else PartitionSpec(*specs[path][1:]))

    def kind(path: Path_) -> Any:
        return jnp.float32 if path[-1] in FLOAT32 else dtype

    flat: dict[Path_, jax.Array] = {}
    leaves = _flat(nnx.to_pure_dict(state))
    table, digests = names(arch), {}
    for name in progress(list(tensors), len(tensors)):
        array = read(tensors.pop(name), name)
        digests[name] = _digest(array)
        path, block = table[name]
        part = _turned(array, path).astype(kind(path))
        where = place(path, stacked=block is None)
        piece = jax.make_array_from_callback(part.shape, where, lambda index, part=part: part[index])
        if block is None:
            flat[path] = piece
            continue
        if path not in flat:
            flat[path] = _zeros(leaves[path].shape, jnp.dtype(kind(path)), place(path, stacked=True))
        flat[path] = _put(flat[path], piece, block)
        flat[path].block_until_ready()  # or pieces would wait in memory
    return _nested(flat), combine(digests)


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
    flat = _flat(params)
    for name, (path, block) in names(arch).items():
        array = flat[path] if block is None else flat[path][block]
        yield name, _turned(np.asarray(array, np.float32), path)


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
        return _turned(read(tensors[named[path, block]], named[path, block]), path)

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


def _turned(array: Any, path: Path_) -> Any:
    """A kernel (out, in) as (in, out), or back; a shape too; what is no kernel as it is."""
    if path[-1] in FLOAT32 or path[-1] == "embedding":
        return array
    return array[::-1] if isinstance(array, tuple) else array.T


def _flat(tree: Mapping[str, Any], path: Path_ = ()) -> dict[Path_, Any]:
    return {
        p: leaf
        for name, child in tree.items()
        for p, leaf in (
            _flat(child, (*path, name)) if isinstance(child, Mapping) else {(*path, name): child}
        ).items()
    }


def _nested(flat: Mapping[Path_, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        level = tree
        for part in path[:-1]:
            level = level.setdefault(part, {})
        level[path[-1]] = leaf
    return tree


def number_of_parameters(arch: T5Architecture) -> int:
    """Numbers of the encoder."""
    return sum(math.prod(shape) for shape in shapes(arch).values())
