"""The MLP of a block with its norm and its gate, and a backward pass for remat that does less.

Shapes: B batch, N tokens of a sample, D width, K hidden features of one part, `...` any axes of tokens.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.models.layers import Linear, gated, modulated_norm
from ptdit_jax.models.stack import computes_again
from ptdit_jax.parallel.axes import as_varying, declared, reduce_tensor, varying, whole

Vectors = tuple[jax.Array | None, jax.Array | None, jax.Array | None]


class MLP(nnx.Module):
    """W2·gelu_tanh(W1·x), width -> hidden -> width (step 6 of the block)."""

    def __init__(self, width: int, hidden: int, *, dtype, rngs: nnx.Rngs):
        self.up = Linear(width, hidden, ("embed", "mlp"), dtype=dtype, rngs=rngs)
        self.down = Linear(hidden, width, ("mlp", "embed"), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (..., D) -> (..., D)."""
        x = nnx.gelu(self.up(x), approximate=True)  # (..., 4D)
        return self.down(x)  # (..., D)


def feed_forward(mlp: MLP, z: jax.Array, modulation: Vectors, *, dtype: Any, remat: str) -> jax.Array:
    """gate·MLP(LN(z)·(1+scale)+shift), what step 6 of a block adds to z: (B, ..., D) -> (B, ..., D), in `dtype`.

    Blocks are those of Sec. 3.2 of arXiv 2409.04005, the gate that of adaLN (arXiv 2212.09748, 2310.00426).

    Where `remat` has a block computed again and a sample has at least D/2 tokens here, the backward pass is that of
    `_by_parts`: the same gradients up to rounding, for which h·W2, the last product of a block, is not computed again.
    With fewer tokens the sums of one sample that stand for it would be more than twice as large as its h.

    Args:
      mlp: W1 and W2.
      z: the residual stream.
      modulation: (shift, scale, gate), each (B, D) float32 or None.
      dtype: that the MLP computes in.
      remat: `model.remat`.
    """
    width = z.shape[-1]
    if not computes_again(remat) or 2 * z.size < z.shape[0] * width**2:
        return _plain(mlp, z, modulation, dtype)
    precision = getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009  # its type is not declared
    return _remat(_How(nnx.graphdef(mlp), dtype, precision), nnx.state(mlp), z, modulation)


class _How(NamedTuple):
    graph: Any
    dtype: Any
    precision: str | None


def _plain(mlp: MLP, z: jax.Array, modulation: Vectors, dtype: Any) -> jax.Array:
    shift, scale, gate = modulation
    return gated(mlp(modulated_norm(z, shift, scale, dtype)), gate)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _remat(how: _How, params: Any, z: jax.Array, modulation: Vectors) -> jax.Array:
    return _plain(nnx.merge(how.graph, params), z, modulation, how.dtype)


def _forward(how: _How, params: Any, z: jax.Array, modulation: Vectors) -> tuple[jax.Array, Any]:
    return _plain(nnx.merge(how.graph, params), z, modulation, how.dtype), (params, z, modulation)


def _backward(how: _How, kept: Any, gradient: jax.Array) -> Any:
    def again(params: Any, z: jax.Array, modulation: Vectors) -> jax.Array:
        return _by_parts(nnx.merge(how.graph, params), z, modulation, how.dtype)

    with jax.default_matmul_precision(
        how.precision
    ):  # it is traced later, and not in the context of the call
        return jax.vjp(again, *kept)[1](gradient)


_remat.defvjp(_forward, _backward)


def _by_parts(mlp: MLP, z: jax.Array, modulation: Vectors, dtype: Any) -> jax.Array:
    """`_plain` with the gate in the second matrix, a part of the hidden features after the other.

    gate·(h·W2) = h·(W2·gate): the gate's gradient is a sum over h^T·dz, which the gradient of W2 needs anyway, and no
    longer one over h·W2, which would be computed for it alone.  Of the hidden features no more than D are kept at a
    time, and those of a part are computed when its gradients are.
    """
    shift, scale, gate = modulation
    x = modulated_norm(z, shift, scale, dtype).reshape(z.shape[0], -1, z.shape[-1])  # (B, N, D)
    if gate is None:
        gate = jnp.ones((1, z.shape[-1]), jnp.float32)
    # Once, and not for each part: where an argument is the same on some devices its gradient is a sum over them.
    axes = varying(x) | varying(mlp.up.kernel[...]) | varying(mlp.down.kernel[...])
    x, split_gate = as_varying(x, axes), as_varying(gate, axes)

    @jax.checkpoint
    def part(x: jax.Array, up: jax.Array, bias: jax.Array, down: jax.Array, gate: jax.Array) -> jax.Array:
        h = nnx.gelu(x @ up + bias, approximate=True)  # (B, N, K)
        down = (down.astype(jnp.float32) * gate[:, None, :]).astype(dtype)  # (B or 1, K, D)
        return h @ down  # (B, N, D)

    first, *others = (part(x, *weights, split_gate) for weights in _parts(mlp, dtype))
    y = reduce_tensor(sum(others, start=first), mlp.down.kernel)
    y = y + (whole(mlp.down.bias, dtype).astype(jnp.float32) * gate).astype(dtype)[:, None, :]
    return y.reshape(z.shape)


def _parts(mlp: MLP, dtype: Any) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    """W1 (D, K), its bias (K,) and W2 (K, D) of each part of the hidden features, gathered part by part."""
    up, bias, down = mlp.up.kernel, mlp.up.bias, mlp.down.kernel
    hidden, (width,) = bias.shape[0], declared(mlp.down.bias)[0]
    count = hidden // width if hidden % width == 0 else 1

    def pieces(param: nnx.Param, axis: int) -> list[jax.Array]:
        shape = [size // count if i == axis else size for i, size in enumerate(declared(param)[0])]
        return [
            whole(param.replace(piece, whole_shape=tuple(shape)), dtype)
            for piece in jnp.split(param[...], count, axis)
        ]

    return list(zip(pieces(up, 1), pieces(bias, 0), pieces(down, 0), strict=True))
