"""Scaled dot-product attention and its two modules, over the trailing (tokens, heads, head width) axes.

Shapes: `...` leading axes (batch, windows), Q query tokens, K key tokens, H heads, d head width, D = H·d.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from ptdit_jax.models.layers import Linear

ATTENTION = "attention output"  # the name by which a remat policy keeps it
# Finite: a row whose keys are all masked, which only padding may have, is their mean and not NaN.
MASKED = -1e30


def attention(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None, split: str | None = None
) -> jax.Array:
    """softmax(q·kᵀ/√d)·v with the softmax in float32.

    Args:
      q: (..., Q, H, d).
      k: (..., K, H, d).
      v: (..., K, H, d).
      mask: boolean, True = attend, broadcastable to (..., H, Q, K).
      split: mesh axis whose devices each hold a share of the keys and all queries; their results are added up.

    Returns:
      (..., Q, H, d) in v's dtype.
    """
    scores = jnp.einsum("...qhd,...khd->...hqk", q, k, preferred_element_type=jnp.float32)
    scores = scores * (q.shape[-1] ** -0.5)
    if mask is not None:
        scores = jnp.where(mask, scores, MASKED)
    if split is None:
        weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
        out = jnp.einsum("...hqk,...khd->...qhd", weights, v)
    else:
        top = jax.lax.pmax(jax.lax.stop_gradient(scores.max(-1, keepdims=True)), split)
        weights = jnp.exp(scores - top)
        weights = (weights / jax.lax.psum(weights.sum(-1, keepdims=True), split)).astype(v.dtype)
        share = jnp.einsum("...hqk,...khd->...qhd", weights, v, preferred_element_type=jnp.float32)
        out = jax.lax.psum(share, split).astype(v.dtype)
    return checkpoint_name(out, ATTENTION)


def chunked_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None, *, chunk: int
) -> jax.Array:
    """`attention` of about `chunk` queries at a time (arXiv 2112.05682).

    Weights of other queries do not exist at the same time, and the backward pass computes them again: memory grows
    with chunk · K instead of Q · K.

    Args:
      q: (B, Q, H, d), cut along Q, or (B, m, n, H, d), cut along its windows m (at least one at a time).
      k: (B, K, H, d), or (B, m, n, H, d) where q has windows.
      v: as k.
      mask: as in `attention`; the same for all queries where q has no windows.
      chunk: queries.

    Returns:
      As q, in v's dtype.
    """
    if q.ndim == 5:  # windows: each has its own keys and values
        if mask is not None:
            mask = jnp.broadcast_to(mask, (*q.shape[:2], *mask.shape[-3:]))
        arrays, axis, size = (q, k, v, mask), 1, max(chunk // q.shape[2], 1)
        one = jax.checkpoint(lambda window: attention(*window))
    else:
        assert mask is None or mask.ndim < 2 or mask.shape[-2] == 1, mask.shape
        arrays, axis, size = q[:, :, None], 1, chunk
        one = jax.checkpoint(lambda query: attention(query, k, v, mask))
    arrays = jax.tree.map(lambda x: jnp.moveaxis(x, axis, 0), arrays)
    out = jnp.moveaxis(jax.lax.map(one, arrays, batch_size=size), 0, axis)
    return checkpoint_name(out.reshape(q.shape), ATTENTION)


Gather = Callable[[jax.Array], jax.Array]
"""Collects the keys or values of other devices: (..., K', H, d) -> (..., K, H, d)."""


class Attention(nnx.Module):
    """The projections of multi-head attention, D -> D each.

    Args:
      width: D.
      heads: H.
      dtype: compute dtype.
      rngs: source of the initial values.
      chunk: queries at a time, see `chunked_attention`; 0 = all.
      out_init: initialiser of the last projection's kernel; default Xavier-uniform.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        dtype,
        rngs: nnx.Rngs,
        chunk: int = 0,
        out_init: Callable | None = None,
    ):
        # Separate projections: one fused product would have an axis of three, which a TPU pads to sixteen.
        shape, axes = (heads, width // heads), ("embed", "heads")
        self.attention = functools.partial(chunked_attention, chunk=chunk) if chunk else attention
        self.q = Linear(width, shape, axes, dtype=dtype, rngs=rngs)
        self.k = Linear(width, shape, axes, dtype=dtype, rngs=rngs)
        self.v = Linear(width, shape, axes, dtype=dtype, rngs=rngs)
        self.out = Linear(shape, width, axes[::-1], dtype=dtype, rngs=rngs, init=out_init)

    def attend(
        self, x: jax.Array, context: jax.Array, mask: jax.Array | None, gather: Gather | None
    ) -> jax.Array:
        """x (..., Q, D), context (..., K', D); mask boolean, broadcastable to (..., H, Q, K) -> (..., Q, D)."""
        q, k, v = self.q(x), self.k(context), self.v(context)  # (..., Q or K', H, d)
        if gather is not None:
            k, v = gather(k), gather(v)
        return self.out(self.attention(q, k, v, mask))


class SelfAttention(Attention):
    """Multi-head self-attention within the token axis: (..., Q, D) -> (..., Q, D)."""

    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, gather: Gather | None = None
    ) -> jax.Array:
        """x (..., Q, D); mask boolean, broadcastable to (..., H, Q, K)."""
        return self.attend(x, x, mask, gather)


class CrossAttention(Attention):
    """Multi-head cross-attention: queries (..., Q, D), keys and values from (..., K, D)."""

    def __call__(
        self,
        x: jax.Array,
        context: jax.Array,
        mask: jax.Array | None = None,
        gather: Gather | None = None,
    ) -> jax.Array:
        """x (..., Q, D), context (..., K', D); mask boolean, broadcastable to (..., H, Q, K)."""
        return self.attend(x, context, mask, gather)
