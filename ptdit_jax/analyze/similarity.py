"""How alike the attention of two tokens is: the redundancy of global attention (arXiv 2409.04005, Sec. 3.1, Fig. 3).

Shapes: B samples, H heads, d head width, N tokens, n tokens of a window, M windows, P pairs of windows.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.analyze.regions import Regions


class Similarity(NamedTuple):
    """Of the attention p and q of two tokens over the same keys, each with sum 1; means over pairs and heads.

    Attributes:
      cosine: (B,) float32, sum(p q) / (|p| |q|).
      overlap: (B,) float32, sum(min(p, q)), which is 1 - total variation.
    """

    cosine: jax.Array
    overlap: jax.Array


class Redundancy(NamedTuple):
    """Of one layer: how alike attention is among the far and among the near keys of `regions.Regions`.

    Attributes:
      same_far: of two tokens of one window, over the keys far from it.
      other_far: of tokens of two windows, over the keys far from both.
      same_near: as `same_far`, over the keys near the window.
      other_near: as `other_far`, over the keys near either window.
      far_share: (B,) float32, the share of all attention that far keys have.
    """

    same_far: Similarity
    other_far: Similarity
    same_near: Similarity
    other_near: Similarity
    far_share: jax.Array


def scores(q: jax.Array, k: jax.Array) -> jax.Array:
    """q·kᵀ/√d in float32: q (B, Q, H, d), k (B, K, H, d) -> (B, H, Q, K)."""
    products = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
    return products * (q.shape[-1] ** -0.5)


def attention_rows(scores: jax.Array, keys: jax.Array | None = None) -> jax.Array:
    """The attention of each query, with sum 1 over the chosen keys and 0 elsewhere.

    Args:
      scores: (..., Q, K) float32.
      keys: (K,) bool, True for those that are chosen, at least one; None for all.

    Returns:
      (..., Q, K) float32.
    """
    return jax.nn.softmax(scores if keys is None else jnp.where(keys, scores, -jnp.inf), axis=-1)


def similarity(one: jax.Array, other: jax.Array, *, is_same: bool) -> Similarity:
    """Of all pairs of a token of one with one of the other, an offset at a time, so that memory is that of the rows.

    Args:
      one: (B, H, n, N) float32 rows with sum 1.
      other: likewise.
      is_same: they are the same tokens, and a token makes no pair with itself.
    """

    def at(offset: jax.Array) -> Similarity:
        q = jnp.roll(other, offset, axis=-2)
        cosine = jnp.sum(one * q, axis=-1) / (jnp.linalg.norm(one, axis=-1) * jnp.linalg.norm(q, axis=-1))
        overlap = jnp.minimum(one, q).sum(axis=-1)
        return Similarity(cosine.mean(axis=(1, 2)), overlap.mean(axis=(1, 2)))

    offsets = jnp.arange(int(is_same), one.shape[-2])
    return jax.tree.map(lambda each: each.mean(axis=0), jax.lax.map(at, offsets))


def redundancy(q: jax.Array, k: jax.Array, where: Regions) -> Redundancy:
    """Of one layer; the rows of two windows exist at a time.

    Args:
      q: (B, N, H, d) queries, tokens row by row.
      k: (B, N, H, d) keys.
      where: the windows of the grid.
    """
    tokens, near = jnp.asarray(where.tokens), jnp.asarray(where.near)

    def one(number: jax.Array) -> tuple[Similarity, Similarity, jax.Array]:
        own, far = scores(q[:, tokens[number]], k), ~near[number]
        same = [similarity(rows, rows, is_same=True) for rows in _over(own, far)]
        share = jnp.where(far, attention_rows(own), 0.0).sum(axis=-1).mean(axis=(1, 2))
        return same[0], same[1], share

    def two(pair: jax.Array) -> tuple[Similarity, Similarity]:
        own, other = (scores(q[:, tokens[number]], k) for number in pair)
        far = ~(near[pair[0]] | near[pair[1]])
        parts = zip(_over(own, far), _over(other, far), strict=True)
        found = [similarity(p, q, is_same=False) for p, q in parts]
        return found[0], found[1]

    same_far, same_near, share = _mean(one, jnp.arange(len(where.tokens)))
    other_far, other_near = _mean(two, jnp.asarray(where.pairs))
    return Redundancy(same_far, other_far, same_near, other_near, share)


def _over(scores: jax.Array, far: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The rows over the far keys, and over the others."""
    return attention_rows(scores, far), attention_rows(scores, ~far)


def _mean(of: Callable, items: jax.Array) -> tuple:
    return jax.tree.map(lambda each: each.mean(axis=0), jax.lax.map(of, items))


def window_maps(q: jax.Array, k: jax.Array, tokens: np.ndarray) -> jax.Array:
    """The attention of some tokens of the first sample to all, mean over heads: (n, N) float32.

    Args:
      q: (B, N, H, d) queries.
      k: (B, N, H, d) keys.
      tokens: (n,) numbers of tokens.
    """
    return attention_rows(scores(q[:1, tokens], k[:1])).mean(axis=1)[0]
