"""What our kernels for TPUs compute of one head's tiles.

Shapes: Q query tokens, K key tokens, d head width.
"""

import jax
import jax.numpy as jnp

from ptdit_jax.models.attention.einsum import MASKED

PLAIN, ROWS_OF_BOTH, COLUMNS_OF_BOTH = ((1,), (0,)), ((1,), (1,)), ((0,), (0,))  # a·b, a·bᵀ, aᵀ·b


def head_slices(features: int, heads: int) -> list[slice]:
    """Where each head's features are in a row of all."""
    width = features // heads
    return [slice(width * head, width * (head + 1)) for head in range(heads)]


def softmax(q: jax.Array, k: jax.Array, together: jax.Array | None) -> jax.Array:
    """The weights of each row, q (Q, d) and k (K, d) -> (Q, K) float32; `together` (Q or 1, K), who attends to whom."""
    scores = product(q, k, ROWS_OF_BOTH) * q.shape[1] ** -0.5
    if together is not None:
        scores = jnp.where(together, scores, MASKED)
    weights = jnp.exp(scores - jnp.max(scores, axis=1, keepdims=True))
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def gradients(
    q: jax.Array, k: jax.Array, v: jax.Array, g: jax.Array, together: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Those of q, k and v, float32, from g (Q, d) of the output; the weights are computed again."""
    weights = softmax(q, k, together)  # (Q, K)
    of_weights = product(g, v, ROWS_OF_BOTH)
    of_scores = weights * (of_weights - jnp.sum(weights * of_weights, axis=1, keepdims=True))
    of_scores = (of_scores * q.shape[1] ** -0.5).astype(q.dtype)
    return (
        product(of_scores, k, PLAIN),
        product(of_scores, q, COLUMNS_OF_BOTH),
        product(weights.astype(g.dtype), g, COLUMNS_OF_BOTH),
    )


def product(a: jax.Array, b: jax.Array, contracted: tuple) -> jax.Array:
    """A product of two matrices by the axes that are contracted, in float32."""
    return jax.lax.dot_general(a, b, (contracted, ((), ())), preferred_element_type=jnp.float32)
