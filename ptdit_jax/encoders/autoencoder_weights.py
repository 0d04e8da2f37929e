"""Weights of the autoencoders by their names in PyTorch: found in a file, read, fingerprinted, and given back.

A convolution is (*window, in, out) here and (out, in, *window) there.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from ptdit_jax.encoders import autoencoder_kl, causal_vae
from ptdit_jax.weight_files.reader import Tensor

NESTINGS = ("ema_state_dict.", "state_dict.gen_model.", "state_dict.", "model.", "")
"""Where a training run of the CausalVAE keeps its weights, averaged ones first."""
COMPVIS = "encoder.down.0.block.0.norm1.weight"
SHOWN = 3  # names in a message

Path = tuple[str | int, ...]


def names(abstract: Any, renamed: Mapping[str, str]) -> dict[Path, str]:
    """The name in PyTorch of every parameter.

    Args:
      abstract: nested dict of parameters.
      renamed: parts of names here, and there.
    """
    leaves = jax.tree_util.tree_flatten_with_path(abstract)[0]
    return {path: _name(path, renamed) for path in (tuple(part.key for part in keys) for keys, _ in leaves)}


def _name(path: Path, renamed: Mapping[str, str]) -> str:
    *parts, last = map(str, path)
    return ".".join([*(renamed.get(part, part) for part in parts), "bias" if last == "bias" else "weight"])


def shapes(abstract: Any, renamed: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """The shape in PyTorch of every tensor, by its name."""
    return {name: _torch_shape(_at(abstract, path).shape) for path, name in names(abstract, renamed).items()}


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:-3:-1], *shape[:-2]) if len(shape) > 1 else tuple(shape)


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def of_kl(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors of an AutoencoderKL, old names of diffusers made new.

    Raises:
      ValueError: they have the names of CompVis.
    """
    if any(name.endswith(COMPVIS) for name in tensors):
        raise ValueError(
            f"{where} has the layout of CompVis ({COMPVIS}), which is not read: convert it with diffusers "
            "(scripts/convert_vae_pt_to_diffusers.py), or take the vae/ of a folder of diffusers"
        )

    def new(name: str) -> str:
        if ".attentions." not in name:
            return name
        return ".".join(autoencoder_kl.OLD.get(part, part) for part in name.split("."))

    return {new(name): tensor for name, tensor in tensors.items()}


def of_causal_vae(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a CausalVAE, wherever its training put them, less those of its loss."""
    for nesting in NESTINGS:
        for prefix in (f"{nesting}module.", nesting):
            if f"{prefix}encoder.conv_in.weight" in tensors:
                return {
                    name.removeprefix(prefix): tensor
                    for name, tensor in tensors.items()
                    if name.startswith(prefix) and "loss" not in name
                }
    return dict(tensors)


def load(tensors: Mapping[str, Tensor], abstract: Any, renamed: Mapping[str, str], where: str) -> Any:
    """The parameters of a network, float32.

    Args:
      tensors: by their names in PyTorch: all of the network's, and no other.
      abstract: nested dict of the parameters.
      renamed: parts of names here, and there.
      where: the file, for messages.

    Returns:
      A nested dict like `abstract` of numpy arrays.

    Raises:
      ValueError: a tensor is missing, is one too many, has another shape or holds no floating-point numbers.
    """
    wanted = shapes(abstract, renamed)
    for problem, found in (
        ("lacks", [name for name in wanted if name not in tensors]),
        ("has, beside those of the network,", [name for name in tensors if name not in wanted]),
    ):
        if found:
            more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise ValueError(f"{where} {problem} {', '.join(found[:SHOWN])}{more}")
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(f"{where}: {name} has shape {tuple(tensors[name].shape)}, not {shape}")
    params: dict[Any, Any] = {}
    for path, name in names(abstract, renamed).items():
        array = tensors[name].read()
        if array.ndim > 1:
            array = np.moveaxis(array, (0, 1), (-1, -2))
        inner = params
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = np.ascontiguousarray(array)
        if not np.isfinite(array).all():
            raise ValueError(f"{where}: {name} holds values that are not finite")
    return params


def dump(params: Any, renamed: Mapping[str, str]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of every parameter as PyTorch has them, float32, in the order of `shapes`."""
    for path, name in names(params, renamed).items():
        array = np.asarray(_at(params, path), np.float32)
        yield name, np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array


def fingerprint(facts: Mapping[str, Any], params: Any, renamed: Mapping[str, str]) -> str:
    """sha256 of an architecture and its weights as float32, whatever file they came from."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, array in sorted(dump(params, renamed), key=lambda item: item[0]):
        digest.update(f"{name} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def abstract(arch: Any) -> tuple[nnx.GraphDef, Any]:
    """The structure of a network and its parameters without their values, with the names of their axes."""
    module = nnx.eval_shape(lambda: arch.build(np.float32, nnx.Rngs(0)))
    graphdef, state = nnx.split(module)
    return graphdef, state


RENAMED: dict[type, Mapping[str, str]] = {
    autoencoder_kl.KLArchitecture: autoencoder_kl.RENAMED,
    causal_vae.CausalArchitecture: causal_vae.RENAMED,
}
"""The names in PyTorch of each kind of network."""
