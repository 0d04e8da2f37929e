"""DiT (arXiv 2212.09748): global self-attention and MLP with adaLN-Zero, in the shell of PT-DiT.

SiT (arXiv 2401.08740) is the same network on another path.

Shapes: B batch, N tokens, D width.  The residual stream is one window of all n tokens of this device, (B, 1, n, D).
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
from flax import nnx

from ptdit_jax.models.attention import Attention
from ptdit_jax.models.baselines.block import BaselineBlock
from ptdit_jax.models.position import Tables, tables_2d
from ptdit_jax.models.ptdit import PTDiT
from ptdit_jax.models.window import Triple, Windowing


class FullAttention(Attention):
    """Self-attention among all tokens of a sample; devices gather each other's keys and values."""

    def __call__(self, x: jax.Array, layout: Windowing) -> jax.Array:
        """(B, 1, n, D) -> (B, 1, n, D)."""
        keys = layout.gathered(layout.valid).reshape(-1) if layout.is_padded else None  # (N,)
        tokens = x[:, 0]  # no window: queries can be cut into chunks
        gather = functools.partial(layout.gather, axis=-3)
        return self.attend(tokens, tokens, keys=keys, gather=gather)[:, None]


class DiT(PTDiT):
    """DiT with the call of PT-DiT; the window and the proxy ratio have no meaning here and are ignored."""

    def make_block(self, index: int, rngs: nnx.Rngs) -> nnx.Module:
        """A block with full attention, whatever its index."""
        del index
        return BaselineBlock(self.arch, FullAttention, rngs=rngs)

    def layout(
        self, size: Sequence[int], window: Sequence[int], proxy_ratio: Sequence[int] | None, parts: int = 1
    ) -> Windowing:
        """One window of all tokens, or of all tokens of a slab."""
        tokens = super().layout(size, (1, 1, 1), None, parts)
        return dataclasses.replace(tokens, window=tokens.slab_grid, proxy=tokens.slab_grid)

    def position_tables(self, grid: Triple) -> Tables:
        """The parts of DiT's 2-D table."""
        return tables_2d(grid, self.arch.width, base=self.arch.position_base)
