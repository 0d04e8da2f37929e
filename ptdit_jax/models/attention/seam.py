"""The one function by which every network attends.

Shapes: B batch, m windows, n tokens a window, Q query tokens, K key tokens, H heads, d head width.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.models.attention import cudnn, einsum, splash, tokens, windows
from ptdit_jax.models.attention.choice import CUDNN, EINSUM, PALLAS, SMALL


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
    if split is None and implementation != EINSUM:
        compute = _kernel(implementation, q, k, keys, regions)
        if compute is not None:
            return compute(q, k, v)
    mask = None
    if keys is not None:
        mask = einsum.key_mask(jnp.asarray(keys))
    elif regions is not None:
        mask = einsum.region_mask(regions)
    if chunk and split is None:
        return einsum.chunked_attention(q, k, v, mask, chunk=chunk)
    return einsum.attention(q, k, v, mask, split)


def _kernel(
    implementation: str,
    q: jax.Array,
    k: jax.Array,
    keys: np.ndarray | jax.Array | None,
    regions: jax.Array | None,
) -> Callable[..., jax.Array] | None:
    """What computes an attention of (q, k, v) of these shapes; None for "einsum"."""
    if q.ndim == 4:
        if implementation == CUDNN:
            return functools.partial(cudnn.cudnn_attention, keys=keys)
        if implementation == PALLAS and tokens.takes(q.shape, k.shape):
            return functools.partial(tokens.token_attention, keys=keys)
        return functools.partial(splash.splash_attention, keys=keys)
    if implementation == PALLAS and keys is None and windows.takes(q.shape, k.shape):
        return functools.partial(windows.window_attention, regions=regions)
    if q.shape[2] < SMALL or (implementation == CUDNN and regions is not None):
        return None
    one = cudnn.cudnn_attention if implementation == CUDNN else splash.splash_attention
    masks = {"keys": keys} if regions is None else {"regions": regions}
    return functools.partial(_each_window, functools.partial(one, **masks))


def _each_window(one: Callable[..., jax.Array], q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Windows as samples: (B, m, n, H, d) -> (B, m, n, H, d)."""
    flat = (x.reshape(-1, *x.shape[2:]) for x in (q, k, v))  # (B·m, n, H, d)
    return one(*flat).reshape(q.shape)
