"""Self-attention within windows as one kernel for TPUs (Pallas), forward and backward.

A window has fewer tokens than a TPU's tile has rows, so a program takes several: it computes the scores of all its
tokens, and hides those of other windows and regions.  It reads queries, keys and values as the projections leave them,
all heads of a token in one row, and writes the output in the same way; scores exist in on-chip memory alone, and the
backward pass computes them again.

Shapes: B batch, m windows, n tokens a window, H heads, d head width, D = H·d; w windows and T = w·n tokens a program,
m' windows with padding.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from ptdit_jax.models.attention import tiles
from ptdit_jax.models.attention.einsum import ATTENTION
from ptdit_jax.models.attention.local import run_local

TILE = 128  # tokens of a program at least, where there are as many
ROWS = 16  # a block's tokens are a multiple: rows of a tile of bfloat16 (float32 has 8)
QUERIES = 256  # of a program at a time; programs of more tokens are of a multiple
LARGEST = 1024  # tokens of a program at most
VMEM = 100 * 2**20  # bytes of on-chip memory that a program of the largest windows may take


class Packing(NamedTuple):
    """How windows share programs.

    Attributes:
      tokens: n.
      windows: w.
      heads: H.
      interpret: whether the kernel is interpreted.
    """

    tokens: int
    windows: int
    heads: int
    interpret: bool

    @property
    def rows(self) -> int:
        """T."""
        return self.tokens * self.windows


def windows_of_program(tokens: int, windows: int) -> int:
    """w: windows of `tokens` for a program, which has `TILE` tokens if there are as many, in whole rows of tiles."""
    step = ROWS // math.gcd(tokens, ROWS)
    wanted = min(max(TILE // tokens, 1), windows)
    return wanted + -wanted % step


def takes(q: tuple[int, ...], k: tuple[int, ...]) -> bool:
    """Whether windows of these shapes (B, m, n, H, d) are attended within by this kernel."""
    rows = q[2] * windows_of_program(q[2], q[1])
    return q == k and (rows <= QUERIES or (rows % QUERIES == 0 and rows <= LARGEST))


def window_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    regions: jax.Array | None = None,
    *,
    interpret: bool = False,
) -> jax.Array:
    """`attend` within windows on a TPU.

    Args:
      q: (B, m, n, H, d) float32 or bfloat16, of a shape that `takes` says yes to.
      k: as q.
      v: as q.
      regions: (m, n), tokens attend to those of equal ids; None for all of the window.
      interpret: run it on any platform, for tests.

    Returns:
      (B, m, n, H, d) in v's dtype.
    """
    batch, m, n, heads, width = q.shape
    packing = Packing(n, windows_of_program(n, m), heads, interpret)
    padding = -m % packing.windows
    rows = (
        jnp.pad(x.reshape(batch, m * n, heads * width), ((0, 0), (0, padding * n), (0, 0))) for x in (q, k, v)
    )  # (B, m'·n, D)
    ids = None
    if regions is not None:
        flat = jnp.pad(regions.astype(jnp.int32), ((0, padding), (0, 0))).reshape(-1)
        ids = flat[:, None], flat.reshape(-1, 1, packing.rows)  # as a column, and as a row of each program
    out = run_local(lambda q, k, v, ids: _attend(packing, q, k, v, ids), *rows, ids=ids)
    return checkpoint_name(out[:, : m * n].reshape(q.shape), ATTENTION)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(packing: Packing, q: jax.Array, k: jax.Array, v: jax.Array, ids: Any) -> jax.Array:
    """Rows (B, m'·n, D), ids as a column (m'·n, 1) and in rows (programs, 1, T) -> (B, m'·n, D)."""
    return _call(_forward_kernel, packing, (q, k, v), ids, 1)[0]


def _forward(packing: Packing, q: jax.Array, k: jax.Array, v: jax.Array, ids: Any) -> Any:
    return _attend(packing, q, k, v, ids), (q, k, v, ids)


def _backward(packing: Packing, kept: Any, gradient: jax.Array) -> Any:
    *arrays, ids = kept
    return *_call(_backward_kernel, packing, (*arrays, gradient), ids, 3), None


_attend.defvjp(_forward, _backward)


def _call(kernel: Any, packing: Packing, arrays: tuple[jax.Array, ...], ids: Any, outputs: int) -> Any:
    """A kernel over all programs of all samples, those of a sample in the outer loop so that ids are read once."""
    batch, tokens, features = arrays[0].shape
    rows = packing.rows
    block = pl.BlockSpec((None, rows, features), lambda i, b: (b, i, 0))
    of_ids = [
        pl.BlockSpec((rows, 1), lambda i, b: (i, 0)),
        pl.BlockSpec((None, 1, rows), lambda i, b: (i, 0, 0)),
    ]
    products = 2 if outputs == 1 else 5  # of T rows, T columns and D features
    return pl.pallas_call(
        functools.partial(kernel, packing, ids is not None),
        grid=(tokens // rows, batch),
        in_specs=[*(of_ids if ids is not None else ()), *[block] * len(arrays)],
        out_specs=[block] * outputs,
        out_shape=[jax.ShapeDtypeStruct(arrays[0].shape, arrays[0].dtype)] * outputs,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel"),
            vmem_limit_bytes=VMEM if rows > QUERIES else None,
        ),
        cost_estimate=pl.CostEstimate(
            flops=2 * products * batch * tokens * rows * features,
            transcendentals=batch * tokens * rows * packing.heads,
            bytes_accessed=(len(arrays) + outputs) * arrays[0].nbytes,
        ),
        interpret=packing.interpret,
    )(*(ids if ids is not None else ()), *arrays)


def _forward_kernel(packing: Packing, masked: bool, *refs: Any) -> None:
    ids, (q, k, v, out) = refs[: 2 * masked], refs[2 * masked :]

    def queries(rows: Any, done: tuple, *, head: slice) -> tuple:
        weights = tiles.softmax(q[rows, head], k[:, head], _together(packing, ids, rows)).astype(v.dtype)
        out[rows, head] = tiles.product(weights, v[:, head], tiles.PLAIN).astype(out.dtype)
        return done

    for head in tiles.head_slices(q.shape[1], packing.heads):
        _by_queries(packing, functools.partial(queries, head=head), ())


def _backward_kernel(packing: Packing, masked: bool, *refs: Any) -> None:
    ids, (q_ref, k_ref, v_ref, gradient, of_q, of_k, of_v) = refs[: 2 * masked], refs[2 * masked :]

    def queries(rows: Any, done: tuple, *, head: slice) -> tuple:
        q, k, v, g = q_ref[rows, head], k_ref[:, head], v_ref[:, head], gradient[rows, head]
        of_queries, *shares = tiles.gradients(q, k, v, g, _together(packing, ids, rows))
        of_q[rows, head] = of_queries.astype(of_q.dtype)
        return tuple(sum(pair) for pair in zip(done, shares, strict=True)) if done else tuple(shares)

    for head in tiles.head_slices(q_ref.shape[1], packing.heads):
        zero = jnp.zeros((packing.rows, head.stop - head.start), jnp.float32)
        sums = _by_queries(packing, functools.partial(queries, head=head), (zero, zero))
        of_k[:, head], of_v[:, head] = sums[0].astype(of_k.dtype), sums[1].astype(of_v.dtype)


def _by_queries(packing: Packing, step: Any, start: tuple) -> tuple:
    """step(rows, sums) -> sums for `QUERIES` rows at a time, or once for all of them without sums so far."""
    if packing.rows <= QUERIES:
        return step(slice(None), ())

    def some(number: jax.Array, sums: tuple) -> tuple:
        return step(pl.ds(pl.multiple_of(number * QUERIES, QUERIES), QUERIES), sums)

    return jax.lax.fori_loop(0, packing.rows // QUERIES, some, start)


def _together(packing: Packing, ids: Any, rows: Any) -> jax.Array | None:
    """Which tokens some queries of a program attend to, (queries, T) bool; None where it is all of them."""
    same = ids[0][rows, :] == ids[1][...] if ids else None
    if packing.windows == 1:
        return same
    shape = (packing.rows, packing.rows)  # windows share a program of few rows alone
    # Not `//`, which asks the host for its TPU: programs are compiled without one too.
    row, column = (jax.lax.div(jax.lax.broadcasted_iota(jnp.int32, shape, i), packing.tokens) for i in (0, 1))
    return row == column if same is None else (row == column) & same
