"""C3D (arXiv 1412.0767), fine-tuned on the 101 classes of UCF-101: the classifier of the Inception score of films.

The file is a state dict with the names of the layers of Caffe's network and PyTorch's order of axes, and `mean`, the
volume that Caffe takes off its input; `ptdit_jax.evaluate.c3d` makes it of the two files that TGANv2 publishes.  The
network is Caffe's: the last pool covers what is left over of 7 rows and columns, behind them, where some ports to
PyTorch pad on both sides, and `fc6` takes the channels first.  Everything is in float32 on every device.

Shapes: N films, F = 16 frames, H rows, W columns; channels are blue, green, red.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ptdit_jax.features import stored

FRAMES, SIDE, CLASSES = 16, 112, 101
BLOCKS: tuple[tuple[tuple[str, ...], int, int], ...] = (
    (("conv1a",), 64, 1),
    (("conv2a",), 128, 2),
    (("conv3a", "conv3b"), 256, 2),
    (("conv4a", "conv4b"), 512, 2),
    (("conv5a", "conv5b"), 512, 2),
)
"""Convolutions, their outputs, and the frames of the pool after them, which is of two rows and two columns."""
HIDDEN, LAST = 4096, 4  # features of fc6 and fc7; rows and columns that fc6 gets
DENSE = {"fc6": (HIDDEN, 512 * LAST * LAST), "fc7": (HIDDEN, HIDDEN), "fc8": (CLASSES, HIDDEN)}
MEAN = "mean"
MEAN_SHAPE = (3, FRAMES, 128, 171)  # of Caffe's input before it is cut
Layers = Mapping[str, tuple[jax.Array, jax.Array]]


class Params(NamedTuple):
    """The network.

    Attributes:
      layers: name -> kernel (frames, rows, columns, in, out) or (in, out) and bias (out,), float32.
      mean: (16, 128, 171, 3) float32, of the pixels 0..255.
    """

    layers: Layers
    mean: jax.Array


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of the file by name, in PyTorch's order of axes."""
    found: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for names, outputs, _ in BLOCKS:
        for name in names:
            found |= {f"{name}.weight": (outputs, inputs, 3, 3, 3), f"{name}.bias": (outputs,)}
            inputs = outputs
    for name, shape in DENSE.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return found | {MEAN: MEAN_SHAPE}


def load(path: Path) -> tuple[Params, str]:
    """The parameters of a file, and its sha256, hex.

    Raises:
      ValueError: it is a program (TorchScript), or holds something else; names the tensor, its shape and the one it
        must have.
      OSError: there is no such file.
    """
    tensors = stored.checked(path, shapes(), "C3D with 101 classes and its mean")
    layers = {}
    for name in (name.removesuffix(".bias") for name in tensors if name.endswith(".bias")):
        kernel = tensors[f"{name}.weight"].read()
        if name == "fc6":  # its inputs are channels, rows and columns; ours have the channels last
            kernel = np.moveaxis(kernel.reshape(len(kernel), -1, LAST, LAST), 1, -1).reshape(len(kernel), -1)
        layers[name] = jnp.asarray(stored.turned(kernel)), jnp.asarray(tensors[f"{name}.bias"].read())
    mean = tensors[MEAN].read().transpose(1, 2, 3, 0)
    return Params(layers, jnp.asarray(mean)), stored.sha256(path)


def apply(layers: Layers, films: jax.Array) -> jax.Array:
    """Logits (N, 101) float32 of films.

    Args:
      layers: of `Params`.
      films: (N, 16, 112, 112, 3), pixels less their mean, blue first.

    Raises:
      ValueError: the films have another shape.
    """
    if films.ndim != 5 or films.shape[1:] != (FRAMES, SIDE, SIDE, 3):
        raise ValueError(f"films {films.shape}: must be (N, {FRAMES}, {SIDE}, {SIDE}, 3)")
    x = maps(layers, films).reshape(len(films), -1)
    for name in DENSE:
        kernel, bias = layers[name]
        x = jnp.matmul(x, kernel, precision=lax.Precision.HIGHEST) + bias
        x = x if name == "fc8" else jax.nn.relu(x)
    return x


def maps(layers: Layers, films: jax.Array) -> jax.Array:
    """What the last pool gives, of films (N, F, H, W, 3) of any size: (N, F / 16, H / 32, W / 32, 512) float32.

    Rows and columns are rounded down but for the last pool, which rounds up; F is a multiple of 16.
    """
    x = films.astype(jnp.float32)
    for place, (names, _, frames) in enumerate(BLOCKS):
        for name in names:
            x = _convolved(layers, name, x)
        x = _pooled(x, frames, covers=place == len(BLOCKS) - 1)
    return x


def _convolved(layers: Layers, name: str, x: jax.Array) -> jax.Array:
    kernel, bias = layers[name]
    made = lax.conv_general_dilated(
        x,
        kernel,
        (1, 1, 1),
        "SAME",
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        precision=lax.Precision.HIGHEST,
    )
    return jax.nn.relu(made + bias)


def _pooled(x: jax.Array, frames: int, *, covers: bool) -> jax.Array:
    window = (1, frames, 2, 2, 1)
    behind = [(0, side % 2 if covers and place in (2, 3) else 0) for place, side in enumerate(x.shape)]
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, behind)
