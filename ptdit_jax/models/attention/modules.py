"""Multi-head attention with its projections.

Shapes: `...` leading axes (batch, windows), Q query tokens, K key tokens, H heads, d head width, D = H·d.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from ptdit_jax.models.attention.choice import EINSUM
from ptdit_jax.models.attention.seam import attend
from ptdit_jax.models.layers import Linear

Gather = Callable[[jax.Array], jax.Array]
"""Collects the keys or values of other devices: (..., K', H, d) -> (..., K, H, d)."""


class Attention(nnx.Module):
    """The projections of multi-head attention, D -> D each.

    Args:
      width: D.
      heads: H.
      dtype: compute dtype.
      rngs: source of the initial values.
      implementation: see `attend`.
      chunk: see there.
      out_init: initialiser of the last projection's kernel; default Xavier-uniform.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        dtype,
        rngs: nnx.Rngs,
        implementation: str = EINSUM,
        chunk: int = 0,
        out_init: Callable | None = None,
    ):
        # Separate projections: one fused product would have an axis of three, which a TPU pads to sixteen.
        shape, axes = (heads, width // heads), ("embed", "heads")
        self.implementation, self.chunk = implementation, chunk
        self.q = Linear(width, shape, axes, dtype=dtype, rngs=rngs)
        self.k = Linear(width, shape, axes, dtype=dtype, rngs=rngs)
        self.v = Linear(width, shape, axes, dtype=dtype, rngs=rngs)
        self.out = Linear(shape, width, axes[::-1], dtype=dtype, rngs=rngs, init=out_init)

    def mix(self, q: jax.Array, k: jax.Array, v: jax.Array, **masks: Any) -> jax.Array:
        """`attend` as this module does it; q (..., Q, H, d), k and v (..., K, H, d) -> (..., Q, H, d)."""
        return attend(q, k, v, implementation=self.implementation, chunk=self.chunk, **masks)

    def attend(
        self,
        x: jax.Array,
        context: jax.Array,
        *,
        keys: np.ndarray | jax.Array | None = None,
        regions: jax.Array | None = None,
        gather: Gather | None = None,
    ) -> jax.Array:
        """x (..., Q, D), context (..., K', D) -> (..., Q, D).

        Args:
          x: tokens that ask.
          context: tokens that answer, or this device's share of them.
          keys: see `attend`.
          regions: see there.
          gather: collects the shares of all devices.
        """
        q, k, v = self.q(x), self.k(context), self.v(context)  # (..., Q or K', H, d)
        if gather is not None:
            k, v = gather(k), gather(v)
        return self.out(self.mix(q, k, v, keys=keys, regions=regions))


class SelfAttention(Attention):
    """Multi-head self-attention within the token axis."""

    def __call__(self, x: jax.Array, **how: Any) -> jax.Array:
        """x (..., Q, D) -> (..., Q, D); keyword arguments are those of `Attention.attend`."""
        return self.attend(x, x, **how)


class CrossAttention(Attention):
    """Multi-head cross-attention."""

    def __call__(self, x: jax.Array, context: jax.Array, **how: Any) -> jax.Array:
        """x (..., Q, D), context (..., K', D) -> (..., Q, D); keyword arguments are those of `Attention.attend`."""
        return self.attend(x, context, **how)
