"""Attention of any number of tokens to a few, as one kernel for TPUs (Pallas), forward and backward.

Keys and values of a sample stay in on-chip memory while the queries pass by: proxies and text are few.  A program
reads some queries as their projection leaves them, all heads of a token in one row, and writes the output in the same
way; it sees all keys of a query, so that nothing of the softmax is kept, and the backward pass computes it again.

Shapes: B batch, Q query tokens, K key tokens, K' with padding to whole tiles, H heads, d head width, D = H·d; T query
tokens a program, Q' with padding to whole programs.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from ptdit_jax.models.attention import tiles
from ptdit_jax.models.attention.einsum import ATTENTION
from ptdit_jax.models.attention.local import run_local

LANES = 128  # columns of a tile: keys of a row of scores, and features of a head
ROWS = 16  # of a tile of bfloat16 (float32 has 8)
QUERIES = 256  # of a program at most
# Numbers of all keys of a sample at most, with keys and heads padded to whole tiles: 1,152 keys of 16 heads and more.
LARGEST = 2400 * 1024
VMEM = 60 * 2**20  # bytes of on-chip memory that a program may take; a chip has at least 64 MiB


class How(NamedTuple):
    """What a kernel knows of its tokens.

    Attributes:
      heads: H.
      queries: T.
      interpret: whether the kernel is interpreted.
    """

    heads: int
    queries: int
    interpret: bool


def takes(q: tuple[int, ...], k: tuple[int, ...]) -> bool:
    """Whether tokens of these shapes (B, Q, H, d) and (B, K, H, d) are attended to by this kernel."""
    padded = [size + -size % LANES for size in (k[1], k[3])]
    return len(q) == 4 and padded[0] * padded[1] * k[2] <= LARGEST


def queries_of_program(queries: int) -> int:
    """T: whole tiles, as equal for all programs as can be."""
    programs = -(-queries // QUERIES)
    each = -(-queries // programs)
    return each + -each % ROWS


def token_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    keys: np.ndarray | jax.Array | None = None,
    *,
    interpret: bool = False,
) -> jax.Array:
    """`attend` without windows on a TPU, to few keys.

    Args:
      q: (B, Q, H, d) float32 or bfloat16.
      k: (B, K, H, d), of a shape that `takes` says yes to.
      v: as k.
      keys: bool, which keys exist, (K,) or (B, K).
      interpret: run it on any platform, for tests.

    Returns:
      (B, Q, H, d) in v's dtype.
    """
    batch, queries, heads, width = q.shape
    tokens = k.shape[1]
    how = How(heads, queries_of_program(queries), interpret)
    padding = -tokens % LANES
    exist = None
    if keys is not None or padding:
        flags = jnp.ones((1, tokens), jnp.int32) if keys is None else jnp.asarray(keys, jnp.int32)
        exist = jnp.pad(flags.reshape(-1, 1, tokens), ((0, 0), (0, 0), (0, padding)))  # (B or 1, 1, K')
    rows = q.reshape(batch, queries, heads * width)
    rows = jnp.pad(rows, ((0, 0), (0, -queries % how.queries), (0, 0)))  # (B, Q', D)
    k, v = (
        jnp.pad(x, ((0, 0), (0, padding), (0, 0), (0, 0))).swapaxes(1, 2) for x in (k, v)
    )  # (B, H, K', d)
    out = run_local(lambda q, k, v, exist: _attend(how, q, k, v, exist), rows, k, v, ids=exist)
    return checkpoint_name(out[:, :queries].reshape(q.shape), ATTENTION)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(how: How, q: jax.Array, k: jax.Array, v: jax.Array, exist: Any) -> jax.Array:
    """Rows (B, Q', D), keys and values (B, H, K', d), which exist (B or 1, 1, K') or None -> (B, Q', D)."""
    return _call(_forward_kernel, how, (q,), (k, v), exist, [(q, v.dtype)])[0]


def _forward(how: How, q: jax.Array, k: jax.Array, v: jax.Array, exist: Any) -> Any:
    return _attend(how, q, k, v, exist), (q, k, v, exist)


def _backward(how: How, kept: Any, gradient: jax.Array) -> Any:
    q, k, v, exist = kept
    results = [(q, q.dtype), (k, jnp.float32), (v, jnp.float32)]
    of_q, of_k, of_v = _call(_backward_kernel, how, (q, gradient), (k, v), exist, results)
    return of_q, of_k.astype(k.dtype), of_v.astype(v.dtype), None


_attend.defvjp(_forward, _backward)


def _call(
    kernel: Any,
    how: How,
    rows: tuple[jax.Array, ...],
    whole: tuple[jax.Array, ...],
    exist: jax.Array | None,
    results: list[tuple[jax.Array, Any]],
) -> Any:
    """A kernel over all programs of a sample, then the next sample's; results are as an array but for their dtype."""
    batch, queries, features = rows[0].shape
    tokens = whole[0].shape[2]

    def spec(array: jax.Array) -> pl.BlockSpec:
        if array.ndim == 3:
            return pl.BlockSpec((None, how.queries, features), lambda b, i: (b, i, 0))
        block = (None, *array.shape[1:])
        return pl.BlockSpec(block, lambda b, i: (b, 0, 0, 0), pipeline_mode=pl.Buffered(1))

    masks = () if exist is None else (exist,)
    one = exist is not None and exist.shape[0] == 1  # for all samples
    of_masks = [pl.BlockSpec((None, 1, tokens), lambda b, i: (0 if one else b, 0, 0))] * len(masks)
    arrays = (*rows, *whole)
    shapes = [jax.ShapeDtypeStruct(array.shape, dtype) for array, dtype in results]
    products = 2 if len(results) == 1 else 5  # of Q' rows, K' columns and D features
    return pl.pallas_call(
        functools.partial(kernel, how, exist is not None),
        grid=(batch, queries // how.queries),
        in_specs=[*of_masks, *map(spec, arrays)],
        out_specs=[spec(array) for array, _ in results],
        out_shape=shapes,
        # The gradients of keys and values are sums over the programs of a sample.
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=VMEM
        ),
        cost_estimate=pl.CostEstimate(
            flops=2 * products * batch * queries * tokens * features,
            transcendentals=batch * queries * tokens * how.heads,
            bytes_accessed=sum(x.size * x.dtype.itemsize for x in (*masks, *arrays, *shapes)),
        ),
        interpret=how.interpret,
    )(*masks, *arrays)


def _forward_kernel(how: How, masked: bool, *refs: Any) -> None:
    masks, (q, k, v, out) = refs[:masked], refs[masked:]
    together = masks[0][...] != 0 if masks else None  # (1, K')
    for number, head in enumerate(tiles.head_slices(q.shape[1], how.heads)):
        weights = tiles.softmax(q[:, head], k[number], together).astype(v.dtype)
        out[:, head] = tiles.product(weights, v[number], tiles.PLAIN).astype(out.dtype)


def _backward_kernel(how: How, masked: bool, *refs: Any) -> None:
    masks, (q, gradient, k, v, of_q, of_k, of_v) = refs[:masked], refs[masked:]
    together = masks[0][...] != 0 if masks else None

    @pl.when(pl.program_id(1) == 0)
    def _() -> None:
        of_k[...] = jnp.zeros(of_k.shape, of_k.dtype)
        of_v[...] = jnp.zeros(of_v.shape, of_v.dtype)

    for number, head in enumerate(tiles.head_slices(q.shape[1], how.heads)):
        shares = tiles.gradients(q[:, head], k[number], v[number], gradient[:, head], together)
        of_q[:, head] = shares[0].astype(of_q.dtype)
        of_k[number] += shares[1]
        of_v[number] += shares[2]
