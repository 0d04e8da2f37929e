"""Inception-v3 as FID has it: TensorFlow's graph of 2015, by the weights of its PyTorch port.

The file is `pt_inception-2015-12-05-6726825d.pth` of pytorch-fid, which is torch-fidelity's, a plain state dict with
torchvision's names.  The graph differs from torchvision's network in its average pools, which do not count padding, in
the last block, which pools by the maximum, in 1,008 classes and in its resize (`resize.tensorflow1`).  Convolutions are
in float32 on every device; the norms after them are folded into them when the file is read.

Shapes: N images, H rows, W columns, C channels.
"""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ptdit_jax.features import resize, stored

SIDE = 299  # pixels of a side that the network sees
FEATURES, CLASSES = 2048, 1008
SPATIAL_CHANNELS = 7  # of Mixed_6d's first branch, which ADM's sFID takes
EPSILON = 1e-3  # of the norms
Params = dict[str, tuple[jax.Array, jax.Array]]
"""Name of a convolution -> kernel (rows, columns, in, out) and bias (out,), float32; "fc": (2048, 1008) and (1008,)."""


class Features(NamedTuple):
    """What the network says of images.

    Attributes:
      pooled: (N, 2048), of FID, precision and recall.
      spatial: (N, 2023), of sFID: 17x17 positions of 7 channels, the channels of a position beside each other.
      logits: (N, 1008) without the bias, of the Inception score.
    """

    pooled: Any
    spatial: Any
    logits: Any


class Conv(NamedTuple):
    """A convolution, its norm and a ReLU."""

    name: str
    outputs: int
    window: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True


Branch = tuple["Conv | str | tuple[Conv, ...]", ...]
"""One after the other; "average" and "max" pool 3x3 with stride 1, "reduce" with stride 2; a tuple is side by side."""


def _stem(name: str, outputs: int, **options: Any) -> Branch:
    return (Conv(name, outputs, **options),)


def _block_a(pool: int) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (
            Conv("branch3x3dbl_1", 64),
            Conv("branch3x3dbl_2", 96, (3, 3)),
            Conv("branch3x3dbl_3", 96, (3, 3)),
        ),
        ("average", Conv("branch_pool", pool)),
    )


def _block_c(width: int) -> tuple[Branch, ...]:
    return (
        (Conv("branch1x1", 192),),
        (
            Conv("branch7x7_1", width),
            Conv("branch7x7_2", width, (1, 7)),
            Conv("branch7x7_3", 192, (7, 1)),
        ),
        (
            Conv("branch7x7dbl_1", width),
            Conv("branch7x7dbl_2", width, (7, 1)),
            Conv("branch7x7dbl_3", width, (1, 7)),
            Conv("branch7x7dbl_4", width, (7, 1)),
            Conv("branch7x7dbl_5", 192, (1, 7)),
        ),
        ("average", Conv("branch_pool", 192)),
    )


def _block_e(pool: str) -> tuple[Branch, ...]:
    def sides(name: str) -> tuple[Conv, ...]:
        return Conv(f"{name}a", 384, (1, 3)), Conv(f"{name}b", 384, (3, 1))

    return (
        (Conv("branch1x1", 320),),
        (Conv("branch3x3_1", 384), sides("branch3x3_2")),
        (Conv("branch3x3dbl_1", 448), Conv("branch3x3dbl_2", 384, (3, 3)), sides("branch3x3dbl_3")),
        (pool, Conv("branch_pool", 192)),
    )


_HALF: dict[str, Any] = {"window": (3, 3), "stride": 2, "same": False}
BLOCKS: tuple[tuple[str, tuple[Branch, ...]], ...] = (
    ("", (_stem("Conv2d_1a_3x3", 32, **_HALF),)),
    ("", (_stem("Conv2d_2a_3x3", 32, window=(3, 3), same=False),)),
    ("", (_stem("Conv2d_2b_3x3", 64, window=(3, 3)),)),
    ("", (("reduce",),)),
    ("", (_stem("Conv2d_3b_1x1", 80),)),
    ("", (_stem("Conv2d_4a_3x3", 192, window=(3, 3), same=False),)),
    ("", (("reduce",),)),
    ("Mixed_5b", _block_a(32)),
    ("Mixed_5c", _block_a(64)),
    ("Mixed_5d", _block_a(64)),
    (
        "Mixed_6a",
        (
            (Conv("branch3x3", 384, **_HALF),),
            (
                Conv("branch3x3dbl_1", 64),
                Conv("branch3x3dbl_2", 96, (3, 3)),
                Conv("branch3x3dbl_3", 96, **_HALF),
            ),
            ("reduce",),
        ),
    ),
    ("Mixed_6b", _block_c(128)),
    ("Mixed_6c", _block_c(160)),
    ("Mixed_6d", _block_c(160)),
    ("Mixed_6e", _block_c(192)),
    (
        "Mixed_7a",
        (
            (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, **_HALF)),
            (
                Conv("branch7x7x3_1", 192),
                Conv("branch7x7x3_2", 192, (1, 7)),
                Conv("branch7x7x3_3", 192, (7, 1)),
                Conv("branch7x7x3_4", 192, **_HALF),
            ),
            ("reduce",),
        ),
    ),
    ("Mixed_7b", _block_e("average")),
    ("Mixed_7c", _block_e("max")),
)
"""The network: a block after the other, its branches joined along the channels."""
SPATIAL = "Mixed_6d"  # whose first branch sFID takes


# --- the weights


def shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of the file by name, in PyTorch's order of axes."""
    found: dict[str, tuple[int, ...]] = {}
    for name, conv, inputs in _convs():
        found[f"{name}.conv.weight"] = (conv.outputs, inputs, *conv.window)
        found |= {f"{name}.bn.{part}": (conv.outputs,) for part in stored.NORM}
    return found | {"fc.weight": (CLASSES, FEATURES), "fc.bias": (CLASSES,)}


def _convs() -> Iterator[tuple[str, Conv, int]]:
    """Every convolution: its whole name, what it is, and its inputs."""
    width = 3
    for block, branches in BLOCKS:
        joined = 0
        for branch in branches:
            inputs = width
            for part in branch:
                sides = part if isinstance(part, tuple) and not isinstance(part, Conv) else (part,)
                outputs = 0
                for side in sides:
                    if isinstance(side, Conv):
                        yield f"{block}.{side.name}".lstrip("."), side, inputs
                    outputs += side.outputs if isinstance(side, Conv) else inputs
                inputs = outputs
            joined += inputs
        width = joined


def load(path: Path) -> tuple[Params, str]:
    """The parameters of a file, and its sha256, hex.

    Raises:
      ValueError: it holds something else; names the tensor, its shape and the one it must have.
      OSError: there is no such file.
    """
    tensors = stored.checked(path, shapes(), "Inception-v3 of FID")
    params = {
        name: _pair(*stored.folded(tensors, f"{name}.conv.weight", f"{name}.bn", EPSILON))
        for name, *_ in _convs()
    }
    params["fc"] = _pair(tensors["fc.weight"].read().T, tensors["fc.bias"].read())
    return params, stored.sha256(path)


def _pair(kernel: np.ndarray, bias: np.ndarray) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(kernel, jnp.float32), jnp.asarray(bias, jnp.float32)


# --- the network


def apply(params: Params, images: jax.Array) -> Features:
    """Features of images (N, H, W, 3) with values 0..255, of any dtype and size; they are resized to 299x299.

    Args:
      params: of `load`.
      images: see above.

    Returns:
      float32 each.
    """
    x = (resize.tensorflow1(images.astype(jnp.float32), SIDE) - 128) / 128
    spatial = x
    for block, branches in BLOCKS:
        made = [_branch(params, block, branch, x) for branch in branches]
        if block == SPATIAL:
            spatial = made[0][..., :SPATIAL_CHANNELS].reshape(len(x), -1)
        x = jnp.concatenate(made, axis=-1)
    pooled = x.mean(axis=(1, 2))
    logits = jnp.matmul(pooled, params["fc"][0], precision=lax.Precision.HIGHEST)
    return Features(pooled, spatial, logits)


def _branch(params: Params, block: str, branch: Branch, x: jax.Array) -> jax.Array:
    for part in branch:
        if isinstance(part, Conv):
            x = _convolved(params, block, part, x)
        elif isinstance(part, str):
            x = POOLS[part](x)
        else:
            x = jnp.concatenate([_convolved(params, block, side, x) for side in part], axis=-1)
    return x


def _convolved(params: Params, block: str, conv: Conv, x: jax.Array) -> jax.Array:
    kernel, bias = params[f"{block}.{conv.name}".lstrip(".")]
    rows, columns = conv.window
    padding = [(rows // 2, rows // 2), (columns // 2, columns // 2)] if conv.same else "VALID"
    made = lax.conv_general_dilated(
        x,
        kernel,
        (conv.stride, conv.stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
    return jax.nn.relu(made + bias)


def _average(x: jax.Array) -> jax.Array:
    """The mean of what there is in each 3x3 window; padding does not count."""

    def total(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")

    return total(x) / total(jnp.ones((1, *x.shape[1:3], 1), x.dtype))


def _largest(x: jax.Array, stride: int = 1, same: bool = True) -> jax.Array:
    """The largest of each 3x3 window, by slices, which CPUs do faster than `lax.reduce_window`.

    Sums stay with that: fused with slices, their last bit depended on the number of devices.
    """
    if same:
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    for axis in (1, 2):
        last = (x.shape[axis] - 3) // stride * stride  # where the last window begins
        parts = [lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(3)]
        x = functools.reduce(jnp.maximum, parts)
    return x


POOLS = {
    "average": _average,
    "max": _largest,
    "reduce": lambda x: _largest(x, stride=2, same=False),
}
