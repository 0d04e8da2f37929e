"""cuDNN's fused attention, through `jax.nn.dot_product_attention` (arXiv 2205.14135, 2307.08691).

Shapes: B batch, Q query tokens, K key tokens, H heads, d head width.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from ptdit_jax.models.attention.einsum import ATTENTION
from ptdit_jax.models.attention.local import run_local


def cudnn_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    keys: np.ndarray | jax.Array | None = None,
    *,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """`attend` on a GPU.  No mask is made, which cuDNN would read as a bias as large as the scores.

    Keys that are known not to exist while tracing are left out.  Others are moved behind those that exist, whose
    number cuDNN takes: the order of keys does not matter.

    Args:
      q: (B, Q, H, d) bfloat16 or float16, d a multiple of 8 and at most 128.
      k: (B, K, H, d).
      v: (B, K, H, d).
      keys: bool, which keys exist, (K,) of numpy or (B, K); at least one of each sample.
      implementation: "xla" computes the same anywhere, for tests.

    Returns:
      (B, Q, H, d) in v's dtype.
    """
    lengths = None
    if isinstance(keys, np.ndarray) and keys.ndim == 1:
        index = np.flatnonzero(keys)
        k, v = k[:, index], v[:, index]
    elif keys is not None:
        keys = jnp.asarray(keys)
        order = jnp.argsort(~keys, axis=1, stable=True)[..., None, None]  # (B, K, 1, 1)
        k, v = (jnp.take_along_axis(x, order, axis=1) for x in (k, v))
        lengths = keys.sum(axis=1, dtype=jnp.int32)  # (B,)
    queries, tokens = q.shape[1], k.shape[1]
    if tokens % 2 and lengths is None:
        lengths = jnp.full(q.shape[0], tokens, jnp.int32)
    # JAX's call takes an even number of both in the backward pass.
    q, k, v = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (q, k, v))

    def kernel(q: jax.Array, k: jax.Array, v: jax.Array, lengths: jax.Array | None) -> jax.Array:
        options = {"key_value_seq_lengths": lengths, "implementation": implementation}
        return jax.nn.dot_product_attention(q, k, v, **options)

    return checkpoint_name(run_local(kernel, q, k, v, lengths)[:, :queries], ATTENTION)
