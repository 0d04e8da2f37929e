"""Scaled dot-product attention and its two modules, over the trailing (tokens, heads, head width) axes.

Shapes: `...` leading axes (batch, windows), Q query tokens, K key tokens, H heads, d head width, D = H·d.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from ptdit_jax.models.layers import Linear, xavier_uniform

ATTENTION = "attention output"  # the name by which a remat policy keeps it
MASKED = -1e30  # finite: a row whose keys are all masked gives their mean instead of NaN


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """softmax(q·kᵀ/√d)·v with the softmax in float32.

    Args:
      q: (..., Q, H, d).
      k: (..., K, H, d).
      v: (..., K, H, d).
      mask: boolean, True = attend, broadcastable to (..., H, Q, K).

    Returns:
      (..., Q, H, d) in v's dtype.
    """
    scores = jnp.einsum("...qhd,...khd->...hqk", q, k, preferred_element_type=jnp.float32)
    scores = scores * (q.shape[-1] ** -0.5)
    if mask is not None:
        scores = jnp.where(mask, scores, MASKED)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return checkpoint_name(jnp.einsum("...hqk,...khd->...qhd", weights, v), ATTENTION)


class SelfAttention(nnx.Module):
    """Multi-head self-attention within the token axis: (..., Q, D) -> (..., Q, D)."""

    def __init__(self, width: int, heads: int, *, dtype, rngs: nnx.Rngs):
        head_width = width // heads
        self.qkv = Linear(
            width,
            (3, heads, head_width),
            ("embed", None, "heads", None),
            dtype=dtype,
            rngs=rngs,
            init=xavier_uniform(width, width),
        )
        self.out = Linear((heads, head_width), width, ("heads", None, "embed"), dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array | None = None,
        gather: Callable[[jax.Array], jax.Array] | None = None,
    ) -> jax.Array:
        """x (..., Q, D); mask boolean, broadcastable to (..., H, Q, K); K = Q, or what `gather` makes of Q.

        `gather` collects keys or values (..., Q, H, d) of other devices: (..., K, H, d).
        """
        q, k, v = jnp.unstack(self.qkv(x), axis=-3)  # (..., Q, H, d) each
        if gather is not None:
            k, v = gather(k), gather(v)
        return self.out(attention(q, k, v, mask))


class CrossAttention(nnx.Module):
    """Multi-head cross-attention: queries (..., Q, D), keys and values from (..., K, D)."""

    def __init__(self, width: int, heads: int, *, dtype, rngs: nnx.Rngs):
        head_width = width // heads
        init = xavier_uniform(width, width)
        axes = ("embed", None, "heads", None)
        self.q = Linear(width, (heads, head_width), ("embed", "heads", None), dtype=dtype, rngs=rngs)
        self.kv = Linear(width, (2, heads, head_width), axes, dtype=dtype, rngs=rngs, init=init)
        self.out = Linear((heads, head_width), width, ("heads", None, "embed"), dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        context: jax.Array,
        mask: jax.Array | None = None,
        gather: Callable[[jax.Array], jax.Array] | None = None,
    ) -> jax.Array:
        """x (..., Q, D), context (..., K, D); mask boolean, broadcastable to (..., H, Q, K); `gather` as above."""
        k, v = jnp.unstack(self.kv(context), axis=-3)  # (..., K, H, d) each
        if gather is not None:
            k, v = gather(k), gather(v)
        return self.out(attention(self.q(x), k, v, mask))
