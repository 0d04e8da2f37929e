"""Inception-3D on RGB (arXiv 1705.07750), trained on the 400 classes of Kinetics, as FVD (arXiv 1812.01717) has it.

The file is VideoGPT's `i3d_pretrained_400.pt`, a plain state dict.  StyleGAN-V's `i3d_torchscript.pt` is a program,
which is not run.  Convolutions and max pools are padded as TensorFlow pads ("SAME": the odd one behind); the average
pool is not padded.  Padding of a max pool never wins: what is pooled comes out of a ReLU.  Everything is in float32
on every device; the norms are folded into the convolutions before them when the file is read.

Shapes: N films, F frames, H rows, W columns; T, R and S are F / 8, H / 32 and W / 32, rounded up.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ptdit_jax.features import stored

SIDE = 224  # pixels of a side that the network sees
FEATURES, CLASSES = 1024, 400
EPSILON = 1e-5  # of the norms; TensorFlow's own file has 1e-3 and no scale
POOL = (2, 7, 7)  # frames, rows and columns of the average pool
FRAMES = 9  # at least: that T is 2, which the average pool takes
Params = dict[str, tuple[jax.Array, jax.Array]]
"""Name of a convolution -> kernel (frames, rows, columns, in, out) and bias (out,), float32; "logits": (1024, 400)."""


class Features(NamedTuple):
    """What the network says of films.

    Attributes:
      logits: (N, 400), the mean over time, of FVD.
      pooled: (N, 1024), likewise, before the last layer.
    """

    logits: Any
    pooled: Any


class Conv(NamedTuple):
    """A convolution, its norm and a ReLU; `window` and `stride` are the same along time, rows and columns."""

    name: str
    outputs: int
    window: int = 1
    stride: int = 1


class Pool(NamedTuple):
    """The maximum of windows; frames, rows, columns."""

    window: tuple[int, int, int]
    stride: tuple[int, int, int]


class Mixed(NamedTuple):
    """Four branches, joined along the channels.

    Attributes:
      name: of the block.
      widths: outputs of b0, b1a, b1b, b2a, b2b and b3b.
    """

    name: str
    widths: tuple[int, int, int, int, int, int]

    def branches(self) -> tuple[tuple[Conv | Pool, ...], ...]:
        """Their parts, one after the other."""
        b0, b1a, b1b, b2a, b2b, b3b = self.widths
        return (
            (Conv(f"{self.name}.b0", b0),),
            (Conv(f"{self.name}.b1a", b1a), Conv(f"{self.name}.b1b", b1b, 3)),
            (Conv(f"{self.name}.b2a", b2a), Conv(f"{self.name}.b2b", b2b, 3)),
            (Pool((3, 3, 3), (1, 1, 1)), Conv(f"{self.name}.b3b", b3b)),
        )


BLOCKS: tuple[Conv | Pool | Mixed, ...] = (
    Conv("Conv3d_1a_7x7", 64, 7, 2),
    Pool((1, 3, 3), (1, 2, 2)),
    Conv("Conv3d_2b_1x1", 64),
    Conv("Conv3d_2c_3x3", 192, 3),
    Pool((1, 3, 3), (1, 2, 2)),
    Mixed("Mixed_3b", (64, 96, 128, 16, 32, 32)),
    Mixed("Mixed_3c", (128, 128, 192, 32, 96, 64)),
    Pool((3, 3, 3), (2, 2, 2)),
    Mixed("Mixed_4b", (192, 96, 208, 16, 48, 64)),
    Mixed("Mixed_4c", (160, 112, 224, 24, 64, 64)),
    Mixed("Mixed_4d", (128, 128, 256, 24, 64, 64)),
    Mixed("Mixed_4e", (112, 144, 288, 32, 64, 64)),
    Mixed("Mixed_4f", (256, 160, 320, 32, 128, 128)),
    Pool((2, 2, 2), (2, 2, 2)),
    Mixed("Mixed_5b", (256, 160, 320, 32, 128, 128)),
    Mixed("Mixed_5c", (384, 192, 384, 48, 128, 128)),
)
"""The network up to its average pool, a block after the other."""


# --- the weights


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of the file by name, in PyTorch's order of axes."""
    found: dict[str, tuple[int, ...]] = {}
    for conv, inputs in _convs():
        found[f"{conv.name}.conv3d.weight"] = (conv.outputs, inputs, *[conv.window] * 3)
        found |= {f"{conv.name}.bn.{part}": (conv.outputs,) for part in stored.NORM}
    return found | {"logits.conv3d.weight": (CLASSES, FEATURES, 1, 1, 1), "logits.conv3d.bias": (CLASSES,)}


def _convs() -> Iterator[tuple[Conv, int]]:
    """Every convolution with a norm, and its inputs."""
    width = 3
    for block in BLOCKS:
        joined = 0
        for branch in block.branches() if isinstance(block, Mixed) else ((block,),):
            inputs = width
            for part in branch:
                if isinstance(part, Conv):
                    yield part, inputs
                    inputs = part.outputs
            joined += inputs
        width = joined


def load(path: Path) -> tuple[Params, str]:
    """The parameters of a file, and its sha256, hex.

    Raises:
      ValueError: it is a program (TorchScript), or holds something else; names the tensor, its shape and the one it
        must have.
      OSError: there is no such file.
    """
    tensors = stored.checked(path, shapes(), "Inception-3D with 400 classes")
    params: Params = {}
    for conv, _ in _convs():
        kernel, bias = stored.folded(tensors, f"{conv.name}.conv3d.weight", f"{conv.name}.bn", EPSILON)
        params[conv.name] = jnp.asarray(kernel, jnp.float32), jnp.asarray(bias, jnp.float32)
    last = tensors["logits.conv3d.weight"].read().reshape(CLASSES, FEATURES).T
    params["logits"] = jnp.asarray(last), jnp.asarray(tensors["logits.conv3d.bias"].read())
    return params, stored.sha256(path)


# --- the network


def apply(params: Params, films: jax.Array) -> Features:
    """Features of films.

    Args:
      params: of `load`.
      films: (N, F, 224, 224, 3) with values -1..1, F at least 9.

    Returns:
      float32 each.

    Raises:
      ValueError: the films have another shape.
    """
    if films.ndim != 5 or films.shape[1] < FRAMES or films.shape[2:] != (SIDE, SIDE, 3):
        raise ValueError(f"films {films.shape}: must be (N, {FRAMES} frames or more, {SIDE}, {SIDE}, 3)")
    seen = maps(params, films)
    each = lax.reduce_window(seen, 0.0, lax.add, (1, *POOL, 1), (1, 1, 1, 1, 1), "VALID") / np.prod(POOL)
    pooled = each.mean(axis=(1, 2, 3))
    kernel, bias = params["logits"]
    # The last layer is linear: the logits of the mean over time are the mean of the logits.
    return Features(jnp.matmul(pooled, kernel, precision=lax.Precision.HIGHEST) + bias, pooled)


def maps(params: Params, films: jax.Array, blocks: tuple[Conv | Pool | Mixed, ...] = BLOCKS) -> jax.Array:
    """What the average pool gets, of films of any size.

    Args:
      params: of `load`.
      films: (N, F, H, W, C); C is 3 where `blocks` begins the network.
      blocks: those that are applied.

    Returns:
      (N, T, R, S, channels) float32.
    """
    x = films.astype(jnp.float32)
    for block in blocks:
        branches = block.branches() if isinstance(block, Mixed) else ((block,),)
        x = jnp.concatenate([_branch(params, branch, x) for branch in branches], axis=-1)
    return x


def _branch(params: Params, branch: tuple[Conv | Pool, ...], x: jax.Array) -> jax.Array:
    for part in branch:
        x = _convolved(params, part, x) if isinstance(part, Conv) else _maximum(part, x)
    return x


def _convolved(params: Params, conv: Conv, x: jax.Array) -> jax.Array:
    kernel, bias = params[conv.name]
    made = lax.conv_general_dilated(
        x,
        kernel,
        (conv.stride,) * 3,
        "SAME",
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        precision=lax.Precision.HIGHEST,
    )
    return jax.nn.relu(made + bias)


def _maximum(pool: Pool, x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *pool.window, 1), (1, *pool.stride, 1), "SAME")
