"""DiT (arXiv 2212.09748): global self-attention and MLP with adaLN-Zero, in the shell of PT-DiT.

Shapes: B batch, N tokens, D width.  The residual stream is one window of all tokens, (B, 1, N, D).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.models.attention import SelfAttention
from ptdit_jax.models.conditioning import AdaLNZero
from ptdit_jax.models.layers import MLP, gated, modulated_norm
from ptdit_jax.models.position import positions_2d
from ptdit_jax.models.ptdit import PTDiT
from ptdit_jax.models.variants import Architecture
from ptdit_jax.models.window import Windowing


class DiTBlock(nnx.Module):
    """z + g1·SA(LN(z)·(1+c1)+s1), then z + g2·MLP(LN(z)·(1+c2)+s2)."""

    def __init__(self, arch: Architecture, *, rngs: nnx.Rngs):
        self.dtype = jnp.dtype(arch.compute_dtype)
        self.modulation = AdaLNZero(arch.width, ("window", "mlp"), rngs=rngs)
        self.attention = SelfAttention(arch.width, arch.heads, dtype=self.dtype, rngs=rngs)
        self.mlp = MLP(arch.width, arch.mlp_ratio * arch.width, dtype=self.dtype, rngs=rngs)

    def __call__(self, z: jax.Array, emb: jax.Array, text, text_mask, layout: Windowing, key) -> jax.Array:
        """(B, 1, N, D) -> (B, 1, N, D); emb (B, D)."""
        del text, text_mask, layout, key
        modulation = self.modulation(emb)
        shift, scale, gate = modulation["window"]
        z = z + gated(self.attention(modulated_norm(z, shift, scale, self.dtype)), gate)
        shift, scale, gate = modulation["mlp"]
        return z + gated(self.mlp(modulated_norm(z, shift, scale, self.dtype)), gate)


class DiT(PTDiT):
    """DiT with the call of PT-DiT; the window and the proxy ratio have no meaning here and are ignored."""

    def make_block(self, index: int, rngs: nnx.Rngs) -> nnx.Module:
        """A DiT block, whatever its index."""
        del index
        return DiTBlock(self.arch, rngs=rngs)

    def layout(
        self, size: Sequence[int], window: Sequence[int], proxy_ratio: Sequence[int] | None
    ) -> Windowing:
        """One window of all tokens."""
        everything = super().layout(size, window=(1, 1, 1), proxy_ratio=None).grid
        return Windowing(everything, everything, everything)

    def positions(self, layout: Windowing) -> jax.Array:
        """DiT's 2-D table, (f, h, w, D) float32."""
        return jnp.asarray(positions_2d(layout.grid, self.arch.width))
