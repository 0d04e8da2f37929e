"""The one function by which every network attends.

Shapes: B batch, m windows, n tokens a window, Q query tokens, K key tokens, H heads, d head width.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.models.attention import einsum
from ptdit_jax.models.attention.choice import EINSUM


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    keys: np.ndarray | jax.Array | None = None,
    regions: jax.Array | None = None,
    split: str | None = None,
    implementation: str = EINSUM,
    chunk: int = 0,
) -> jax.Array:
    """softmax(q·kᵀ/√d)·v with the softmax in float32.

    Args:
      q: (B, Q, H, d), or (B, m, n, H, d) within windows.
      k: (B, K, H, d), or (B, m, K, H, d) where q has windows.
      v: as k.
      keys: bool, which keys exist; (K,) for all samples, or (B, K) without windows.  Every query that counts has one.
      regions: (m, n) of self-attention within windows: tokens attend to those of equal ids, and to themselves.
      split: mesh axis whose devices each hold a share of the keys and all queries; their results are added up.
      implementation: one of `choice.IMPLEMENTATIONS`; what it leaves to "einsum" is in docs/attention.md.
      chunk: queries whose scores "einsum" keeps at a time, see `einsum.chunked_attention`; 0 = all.

    Returns:
      As q, in v's dtype.
    """
    assert keys is None or regions is None
    del implementation
    mask = None
    if keys is not None:
        mask = einsum.key_mask(jnp.asarray(keys))
    elif regions is not None:
        mask = einsum.region_mask(regions)
    if chunk and split is None:
        return einsum.chunked_attention(q, k, v, mask, chunk=chunk)
    return einsum.attention(q, k, v, mask, split)
