"""Attention whose scores are an array in memory: on any platform, of any shape, and what the others are held against.

Shapes: `...` leading axes (batch, windows), Q query tokens, K key tokens, H heads, d head width.
"""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

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
    # Heads before tokens on both sides of each product: of "...hqk,...khd->...qhd" XLA's CPU backend makes one of
    # transposes, which takes longer than the product and these copies.
    q, k, v = (jnp.swapaxes(array, -2, -3) for array in (q, k, v))
    scores = jnp.einsum("...hqd,...hkd->...hqk", q, k, preferred_element_type=jnp.float32)
    scores = scores * (q.shape[-1] ** -0.5)
    if mask is not None:
        scores = jnp.where(mask, scores, MASKED)
    if split is None:
        weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
        out = jnp.einsum("...hqk,...hkd->...hqd", weights, v)
    else:
        top = jax.lax.pmax(jax.lax.stop_gradient(scores.max(-1, keepdims=True)), split)
        weights = jnp.exp(scores - top)
        weights = (weights / jax.lax.psum(weights.sum(-1, keepdims=True), split)).astype(v.dtype)
        share = jnp.einsum("...hqk,...hkd->...hqd", weights, v, preferred_element_type=jnp.float32)
        out = jax.lax.psum(share, split).astype(v.dtype)
    return checkpoint_name(jnp.swapaxes(out, -2, -3), ATTENTION)


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


def region_mask(regions: jax.Array) -> jax.Array:
    """Which tokens of a window may attend to each other, (m, n) ids of any dtype -> (m, 1, n, n) bool."""
    return (regions[:, :, None] == regions[:, None, :])[:, None]


def key_mask(keys: jax.Array) -> jax.Array:
    """Which keys exist, as a mask of `attention`: (..., K) bool -> (..., 1, 1, K)."""
    return keys[..., None, None, :]
