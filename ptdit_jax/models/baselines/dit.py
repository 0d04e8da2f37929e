"""DiT (arXiv 2212.09748): global self-attention and MLP with adaLN-Zero, in the shell of PT-DiT.

Shapes: B batch, N tokens, D width.  The residual stream is one window of all n tokens of this device, (B, 1, n, D).
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.models.attention import SelfAttention
from ptdit_jax.models.conditioning import AdaLNZero
from ptdit_jax.models.layers import MLP, gated, modulated_norm
from ptdit_jax.models.position import Tables, tables_2d
from ptdit_jax.models.ptdit import PTDiT
from ptdit_jax.models.variants import Architecture
from ptdit_jax.models.window import Triple, Windowing


class DiTBlock(nnx.Module):
    """z + g1·SA(LN(z)·(1+c1)+s1), then z + g2·MLP(LN(z)·(1+c2)+s2)."""

    def __init__(self, arch: Architecture, *, rngs: nnx.Rngs):
        self.dtype = jnp.dtype(arch.compute_dtype)
        self.modulation = AdaLNZero(arch.width, ("window", "mlp"), rngs=rngs)
        self.attention = SelfAttention(
            arch.width, arch.heads, dtype=self.dtype, rngs=rngs, chunk=arch.attention_chunk
        )
        self.mlp = MLP(arch.width, arch.mlp_ratio * arch.width, dtype=self.dtype, rngs=rngs)

    def __call__(self, z: jax.Array, emb: jax.Array, text, text_mask, layout: Windowing, keys) -> jax.Array:
        """(B, 1, n, D) -> (B, 1, n, D); emb (B, D)."""
        del text, text_mask, keys
        mask = jnp.asarray(layout.gathered(layout.valid).reshape(-1)) if layout.is_padded else None  # (N,)
        gather = functools.partial(layout.gather, axis=-3)  # keys and values of all devices
        modulation = self.modulation(emb)
        shift, scale, gate = modulation["window"]
        z = z + gated(self.attention(modulated_norm(z, shift, scale, self.dtype), mask, gather), gate)
        shift, scale, gate = modulation["mlp"]
        return z + gated(self.mlp(modulated_norm(z, shift, scale, self.dtype)), gate)


class DiT(PTDiT):
    """DiT with the call of PT-DiT; the window and the proxy ratio have no meaning here and are ignored."""

    def make_block(self, index: int, rngs: nnx.Rngs) -> nnx.Module:
        """A DiT block, whatever its index."""
        del index
        return DiTBlock(self.arch, rngs=rngs)

    def layout(
        self, size: Sequence[int], window: Sequence[int], proxy_ratio: Sequence[int] | None, parts: int = 1
    ) -> Windowing:
        """One window of all tokens, or of all tokens of a slab."""
        tokens = super().layout(size, (1, 1, 1), None, parts)
        return dataclasses.replace(tokens, window=tokens.slab_grid, proxy=tokens.slab_grid)

    def position_tables(self, grid: Triple) -> Tables:
        """The parts of DiT's 2-D table."""
        return tables_2d(grid, self.arch.width)
