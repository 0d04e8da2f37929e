"""Layers shared by every network: named-axis Linears, the norm and the modulation.

Shapes: D width, H heads, d head width, `...` any leading axes.
Logical axis names (`ptdit_jax.parallel.axes` maps them to mesh axes): "embed" D, "heads" H, "mlp" the hidden width.
On a mesh a device may hold a part of a parameter and call `axes.whole` and `axes.reduce_tensor` to complete it.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.parallel.axes import reduce_tensor, whole

Axes = tuple[str | None, ...]


def parameter(init: Callable, rngs: nnx.Rngs, shape: Sequence[int], axes: Axes) -> nnx.Param:
    """A float32 parameter that carries the logical name of each of its axes; nothing is sharded here.

    The trainer reads the names (`ptdit_jax.parallel.rules`) and creates the arrays already sharded under jit.
    """
    assert len(axes) == len(shape), (axes, shape)
    value = init(rngs.params(), tuple(shape), jnp.float32)
    return nnx.Param(value, out_sharding=axes, whole_shape=tuple(shape), eager_sharding=False)


def xavier_uniform(fan_in: int, fan_out: int) -> Callable:
    """Xavier-uniform initialiser of explicit fans, so that fused projections start as separate ones would."""
    limit = (6.0 / (fan_in + fan_out)) ** 0.5

    def init(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


zeros = nnx.initializers.zeros_init()


class Linear(nnx.Module):
    """x·W+b over trailing axes: (..., *in_shape) -> (..., *out_shape), one matrix product.

    The kernel is one matrix (in, out), whatever the axes: on a TPU, axes as short as three or a head width would be
    padded, and products with one would not be plain matrix products.

    Args:
      in_shape: trailing input axes that are contracted.
      out_shape: trailing output axes.
      axes: logical names of the kernel's two axes; where a mesh splits one, it splits the first of its own axes.
      dtype: compute dtype; the parameters are float32.
      rngs: source of the initial values.
      init: kernel initialiser; default Xavier-uniform over the flattened shapes.  The bias starts at zero.
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_shape: int | Sequence[int],
        axes: Axes,
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
        init: Callable | None = None,
    ):
        self.in_shape = (in_shape,) if isinstance(in_shape, int) else tuple(in_shape)
        self.out_shape = (out_shape,) if isinstance(out_shape, int) else tuple(out_shape)
        shape = (math.prod(self.in_shape), math.prod(self.out_shape))
        self.dtype = dtype
        self.kernel = parameter(init or xavier_uniform(*shape), rngs, shape, axes)
        self.bias = parameter(zeros, rngs, shape[1:], axes[1:])

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (..., *in_shape) -> (..., *out_shape) in the compute dtype."""
        kernel, bias = whole(self.kernel, self.dtype), whole(self.bias, self.dtype)
        # The tokens as one axis: contracting several for the kernel's gradient would make XLA copy the activations
        # transposed (measured on CPU: a quarter of a training step).
        leading = x.shape[: x.ndim - len(self.in_shape)]
        y = reduce_tensor(x.astype(self.dtype).reshape(-1, kernel.shape[0]) @ kernel, self.kernel) + bias
        return y.reshape(*leading, -1, *self.out_shape[1:])


def in_compute_dtype(module: nnx.Module) -> nnx.Module:
    """A module with the kernels and biases of all its Linears cast from float32 to the dtype that these compute in.

    It computes the same, to the bit.  Stacked blocks are cast so before the loop over them: what a backward pass
    collects of each block is then as narrow as it was computed, half of float32 with bfloat16, and is cast back once
    all blocks are done.  Meanwhile these parameters exist a second time, that narrow, also where nothing is
    differentiated; a TPU's compiler would cast them before the loop anyway.  With float32 nothing changes.
    """
    dtypes = {path: node.dtype for path, node in nnx.iter_modules(module) if isinstance(node, Linear)}

    def cast(path: tuple, param: nnx.Variable) -> nnx.Variable:
        dtype = dtypes.get(path[:-1])
        return param if dtype is None else param.replace(param[...].astype(dtype))

    graphdef, params = nnx.split(module)
    return nnx.merge(graphdef, nnx.map_state(cast, params))


def layer_norm(x: jax.Array) -> jax.Array:
    """LN without scale or bias, eps 1e-6, over the last axis; float32 inside, (..., D) -> (..., D) float32."""
    x = x.astype(jnp.float32)
    mean = jnp.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-6)


def modulated_norm(x: jax.Array, shift: jax.Array | None, scale: jax.Array | None, dtype) -> jax.Array:
    """LN(x)·(1+scale)+shift in float32, cast to the compute dtype.

    Args:
      x: (B, ..., D) tokens.
      shift: (B, D) or None for a plain LN.
      scale: (B, D) or None.
      dtype: of the result.
    """
    y = layer_norm(x)
    if shift is not None and scale is not None:
        y = y * (1.0 + per_sample(scale, y)) + per_sample(shift, y)
    return y.astype(dtype)


def gated(x: jax.Array, gate: jax.Array | None) -> jax.Array:
    """gate·x with one (B, D) gate a sample, or x when there is none; x is (B, ..., D)."""
    return x if gate is None else x * per_sample(gate, x).astype(x.dtype)


def per_sample(vector: jax.Array, like: jax.Array) -> jax.Array:
    """(B, D) -> (B, 1, ..., 1, D), to broadcast over the tokens of `like` (B, ..., D)."""
    return vector.reshape(vector.shape[0], *([1] * (like.ndim - 2)), vector.shape[-1])
