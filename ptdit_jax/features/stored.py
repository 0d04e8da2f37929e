"""Files of the networks of this room: every tensor is there, has its shape, and there is no other."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ptdit_jax.weight_files import reader

NORM = ("weight", "bias", "running_mean", "running_var")
"""Tensors of a norm that are read."""
COUNTER = ".bn.num_batches_tracked"  # of a norm in newer files: counts steps of training, and is not read


def checked(path: Path, shapes: Mapping[str, tuple[int, ...]], network: str) -> dict[str, reader.Tensor]:
    """The tensors of a file, not yet read.

    Args:
      path: of the file.
      shapes: name of each tensor -> its shape.
      network: what the file must be, for messages.

    Raises:
      ValueError: a tensor lacks, has another shape, or is of another network; names it and the shape it must have.
      OSError: there is no such file.
    """
    tensors, _ = reader.open_file(path)
    for name, shape in shapes.items():
        if name not in tensors:
            raise ValueError(f"{path} lacks {name} {shape}: it is no {network}")
        if tensors[name].shape != shape:
            raise ValueError(f"{path}: {name} is {tensors[name].shape} and must be {shape}")
    more = [name for name in tensors if name not in shapes and not name.endswith(COUNTER)]
    if more:
        raise ValueError(f"{path} holds {more[0]}, of which an {network} has none")
    return tensors


def folded(
    tensors: Mapping[str, reader.Tensor], kernel: str, norm: str, epsilon: float
) -> tuple[np.ndarray, np.ndarray]:
    """A convolution and the norm after it as one.

    Args:
      tensors: of `checked`.
      kernel: name of the kernel (out, in, *window).
      norm: name before those of `NORM`.
      epsilon: what the norm adds to a variance.

    Returns:
      kernel (*window, in, out) and bias (out,), float64.
    """
    exact = tensors[kernel].read().astype(np.float64)
    scale, shift, mean, variance = (tensors[f"{norm}.{part}"].read().astype(np.float64) for part in NORM)
    gain = scale / np.sqrt(variance + epsilon)
    return turned(exact) * gain, shift - mean * gain


def turned(kernel: np.ndarray) -> np.ndarray:
    """A kernel in PyTorch's order of axes (out, in, *window) -> (*window, in, out)."""
    return np.moveaxis(kernel, (0, 1), (-1, -2))


def sha256(path: Path) -> str:
    """Of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
