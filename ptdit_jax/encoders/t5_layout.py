"""The names that `transformers` has for the tensors of a T5 encoder, and whether files hold them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict

from ptdit_jax.encoders.t5 import T5Architecture, abstract
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

Place = tuple[str, ...]


def names(arch: T5Architecture) -> dict[str, tuple[Place, int | None]]:
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
    found: dict[str, tuple[Place, int | None]] = {EMBEDDING: (("embedding",), None)}
    for i in range(arch.depth):
        for name, theirs in (block | ({"bias": bias} if arch.own_bias else {})).items():
            found[f"encoder.block.{i}.{theirs}.weight"] = (("blocks", name), i)
    if not arch.own_bias:
        found[f"encoder.block.0.{bias}.weight"] = (("bias",), None)
    return found | {"encoder.final_layer_norm.weight": (("final_norm",), None)}


def shapes(arch: T5Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a file."""
    leaves = flattened(nnx.to_pure_dict(abstract(arch)[1]))
    return {
        name: turned(leaves[path].shape[0 if block is None else 1 :], path)
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


def turned(array: Any, path: Place) -> Any:
    """A kernel (out, in) as (in, out), or back; a shape too; what is no kernel as it is."""
    if path[-1] in FLOAT32 or path[-1] == "embedding":
        return array
    return array[::-1] if isinstance(array, tuple) else array.T


def flattened(tree: Mapping[str, Any]) -> dict[Place, Any]:
    """{path: leaf} of nested dicts."""
    return cast("dict[Place, Any]", flatten_dict(tree))


def number_of_parameters(arch: T5Architecture) -> int:
    """Numbers of the encoder."""
    return sum(math.prod(shape) for shape in shapes(arch).values())
