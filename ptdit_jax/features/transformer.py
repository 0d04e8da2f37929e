"""The transformer that CLIP's two towers and DINOv2 share: blocks with their norms before attention and MLP.

Everything is in float32 on every device, products in the highest precision.  The blocks are stacked and scanned, so
that one of them is compiled.

Shapes: N samples, T tokens, D width, F width inside of the MLP, A heads, L blocks.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Pair = tuple[jax.Array, jax.Array]
"""Kernel (in, out) and bias (out,) of a linear layer, or gain (D,) and bias (D,) of a norm."""
Blocks = dict[str, Any]
"""Parts of all blocks, each with an axis L before its own: the pairs "norm1", "query", "key", "value", "out", "norm2",
"up", "down", of SwiGLU "gate" too, and of layer scale "scale1" and "scale2" (L, D)."""
ACTIVATIONS = {
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
}
"""What lies between the two layers of an MLP, by the names of configs; of SwiGLU it is silu."""
LINEAR = ("query", "key", "value", "out", "gate", "up", "down")
NORMS = ("norm1", "norm2")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The sizes of the blocks.

    Attributes:
      width: D.
      hidden: F.
      depth: L.
      heads: A, which divides D.
      activation: of `ACTIVATIONS`; without effect where there are gates.
      epsilon: of the norms.
    """

    width: int
    hidden: int
    depth: int
    heads: int
    activation: str
    epsilon: float


def shapes(arch: Architecture, stems: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """The tensors of the blocks in a file, in PyTorch's order of axes.

    Args:
      arch: their sizes.
      stems: part of `Blocks` -> its name without ".weight" or ".bias", "{}" for the number of the block; of a scale
        the whole name.
    """
    width, hidden = arch.width, arch.hidden
    found: dict[str, tuple[int, ...]] = {}
    for number in range(arch.depth):
        for part, stem in stems.items():
            name = stem.format(number)
            if part in LINEAR:
                inputs = hidden if part == "down" else width
                outputs = hidden if part in ("up", "gate") else width
                found |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
            elif part in NORMS:
                found |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
            else:
                found[name] = (width,)
    return found


def stacked(tensors: Mapping[str, np.ndarray], stems: Mapping[str, str], depth: int) -> Blocks:
    """The blocks of a file; arguments as those of `shapes`, `tensors` float32 by name.

    A bias that the file has none of is 0.
    """

    def stack(name: str, *, turned: bool = False) -> jax.Array:
        parts = [tensors[name.format(number)] for number in range(depth)]
        return jnp.asarray(np.stack([part.T for part in parts] if turned else parts))

    found: Blocks = {}
    for part, stem in stems.items():
        if part not in LINEAR and part not in NORMS:
            found[part] = stack(stem)
            continue
        kernel = stack(f"{stem}.weight", turned=part in LINEAR)
        has_bias = f"{stem}.bias".format(0) in tensors
        found[part] = kernel, stack(f"{stem}.bias") if has_bias else jnp.zeros(kernel[:, 0].shape)
    return found


def run(arch: Architecture, blocks: Blocks, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """All blocks, one after the other.

    Args:
      arch: their sizes.
      blocks: of `stacked`.
      x: (N, T, D) float32.
      mask: (N, T, T) bool, or what broadcasts to it: whether a token (of the second axis) sees another (of the third).

    Returns:
      (N, T, D) float32.
    """

    def step(x: jax.Array, block: Blocks) -> tuple[jax.Array, None]:
        made = _attention(arch, block, norm(block["norm1"], x, arch.epsilon), mask)
        x = x + made * block.get("scale1", 1.0)  # (N, T, D)
        made = _mlp(arch, block, norm(block["norm2"], x, arch.epsilon))
        return x + made * block.get("scale2", 1.0), None

    return lax.scan(step, x, blocks)[0]


def norm(pair: Pair, x: jax.Array, epsilon: float) -> jax.Array:
    """Layer norm over the last axis (arXiv 1607.06450); x (..., D) -> the same shape."""
    x = x - x.mean(axis=-1, keepdims=True)
    return x * lax.rsqrt((x * x).mean(axis=-1, keepdims=True) + epsilon) * pair[0] + pair[1]


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x (..., in) by a kernel (in, out) -> (..., out), in the highest precision."""
    return jnp.matmul(x, kernel, precision=lax.Precision.HIGHEST)


def patches(pixels: jax.Array, kernel: jax.Array, patch: int) -> jax.Array:
    """A linear layer of each patch; rows and columns that fill none are cut off below and right.

    Args:
      pixels: (N, H, W, 3) float32.
      kernel: (patch · patch · 3, D), of `patch_kernel`.
      patch: pixels of a side of a patch.

    Returns:
      (N, H/patch · W/patch, D) float32, row by row.
    """
    count, rows, columns = len(pixels), pixels.shape[1] // patch, pixels.shape[2] // patch
    cut = pixels[:, : rows * patch, : columns * patch].reshape(count, rows, patch, columns, patch, 3)
    cut = cut.transpose(0, 1, 3, 2, 4, 5).reshape(count, rows * columns, -1)
    return product(cut, kernel)


def patch_kernel(weight: np.ndarray) -> jax.Array:
    """A convolution's weight (D, 3, patch, patch) as the kernel (patch · patch · 3, D) of `patches`."""
    return jnp.asarray(weight.transpose(2, 3, 1, 0).reshape(-1, len(weight)))


def _linear(pair: Pair, x: jax.Array) -> jax.Array:
    return product(x, pair[0]) + pair[1]


def _attention(arch: Architecture, block: Blocks, x: jax.Array, mask: jax.Array | None) -> jax.Array:
    size = arch.width // arch.heads
    q, k, v = (
        _linear(block[name], x).reshape(*x.shape[:2], arch.heads, size) for name in ("query", "key", "value")
    )  # (N, T, A, D/A)
    scores = jnp.einsum("nqad,nkad->naqk", q * size**-0.5, k, precision=lax.Precision.HIGHEST)
    if mask is not None:
        scores = jnp.where(mask[:, None], scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores, axis=-1)  # (N, A, T, T)
    made = jnp.einsum("naqk,nkad->nqad", weights, v, precision=lax.Precision.HIGHEST)
    return _linear(block["out"], made.reshape(x.shape))


def _mlp(arch: Architecture, block: Blocks, x: jax.Array) -> jax.Array:
    inside = _linear(block["up"], x)  # (N, T, F)
    if "gate" in block:
        inside = jax.nn.silu(_linear(block["gate"], x)) * inside
    else:
        inside = ACTIVATIONS[arch.activation](inside)
    return _linear(block["down"], inside)
