"""Splash attention, the flash attention (arXiv 2205.14135) of JAX's library for TPUs.

Shapes: B batch, Q query tokens, K key tokens, H heads, d head width.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu import splash_attention as library

from ptdit_jax.models.attention.einsum import ATTENTION
from ptdit_jax.models.attention.local import run_local

LANES = 128  # the smallest block of queries or keys
BLOCKS = (512, 256, 128)
SPARE = 9 / 8  # padding that a larger block may cost


def splash_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    keys: np.ndarray | jax.Array | None = None,
    regions: jax.Array | None = None,
    *,
    interpret: bool = False,
) -> jax.Array:
    """`attend` on a TPU, with no scores in memory.

    Tokens are padded to whole blocks; who attends to whom is said by ids of tokens, which hide padding too.  The
    remat policy "attention" keeps the output and the logarithm of each softmax's sum, from which the backward pass
    starts.

    Args:
      q: (B, Q, H, d) float32 or bfloat16.
      k: (B, K, H, d).
      v: (B, K, H, d).
      keys: bool, which keys exist, (K,) or (B, K).
      regions: ids (b, Q) of self-attention, at least 0, where b divides B (windows: the same for every sample).
      interpret: run it on any platform, slowly, for tests.

    Returns:
      (B, Q, H, d) in q's dtype.
    """
    batch, queries = q.shape[:2]
    blocks = block_size(queries), block_size(k.shape[1])
    ids = token_ids(batch, queries, k.shape[1], blocks, keys, regions)
    q = (q * q.shape[-1] ** -0.5).astype(q.dtype)
    q, k, v = (
        jnp.pad(x, ((0, 0), (0, -x.shape[1] % block), (0, 0), (0, 0))).swapaxes(1, 2)  # (B, H, Q or K, d)
        for x, block in ((q, blocks[0]), (k, blocks[1]), (v, blocks[1]))
    )

    def kernel(q: jax.Array, k: jax.Array, v: jax.Array, ids: library.SegmentIds | None) -> jax.Array:
        full = library.MultiHeadMask([library.FullMask((q.shape[2], k.shape[2]))] * q.shape[1])
        attention: Any = library.make_splash_mha(
            full,
            block_sizes=block_sizes(*blocks, k.shape[2] // blocks[1]),
            head_shards=1,
            q_seq_shards=1,
            residual_checkpoint_name=ATTENTION,
            interpret=interpret,
        )
        return jax.vmap(attention)(q, k, v, ids)

    return run_local(kernel, q, k, v, ids).swapaxes(1, 2)[:, :queries]


def block_size(tokens: int) -> int:
    """The largest block whose padding costs at most an eighth more tokens than the smallest one's."""
    least = tokens + -tokens % LANES
    return next(block for block in BLOCKS if tokens + -tokens % block <= SPARE * least)


def block_sizes(block_q: int, block_kv: int, key_blocks: int) -> library.BlockSizes:
    """The library's block sizes: the same forward and backward.

    Its fused backward pass is one kernel, but writes the gradient of the queries once for every block of keys.
    """
    fused = key_blocks == 1
    return library.BlockSizes(
        block_q=block_q,
        block_kv=block_kv,
        block_q_dkv=block_q,
        block_kv_dkv=block_kv,
        block_q_dq=None if fused else block_q,
        block_kv_dq=None if fused else block_kv,
        use_fused_bwd_kernel=fused,
    )


def token_ids(
    batch: int,
    queries: int,
    tokens: int,
    blocks: tuple[int, int],
    keys: np.ndarray | jax.Array | None,
    regions: jax.Array | None,
) -> library.SegmentIds | None:
    """Ids of padded queries and keys, int32 (B, Q') and (B, K'); those of equal ids attend.  None where all do."""
    pad_q, pad_k = (-length % block for length, block in zip((queries, tokens), blocks, strict=True))
    if regions is not None:
        ids = jnp.tile(regions.astype(jnp.int32), (batch // regions.shape[0], 1))
        ids = jnp.pad(ids, ((0, 0), (0, pad_q)), constant_values=-1)
        return library.SegmentIds(q=ids, kv=ids)
    if keys is None and not pad_k:
        return None
    exist = jnp.ones(tokens, bool) if keys is None else jnp.asarray(keys)
    exist = jnp.broadcast_to(exist, (batch, tokens))
    missing = jnp.pad(~exist, ((0, 0), (0, pad_k)), constant_values=True)
    return library.SegmentIds(q=jnp.zeros((batch, queries + pad_q), jnp.int32), kv=missing.astype(jnp.int32))
