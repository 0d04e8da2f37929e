"""DAM (arXiv 2408.05710): attention mediated by a few tokens, each the mean of the queries of a window.

    softmax(Q·Tᵀ/√d)·softmax(T·Kᵀ/√d)·V, T mediators

A head is linear in the number of tokens.  The authors' code adds a depthwise 3x3 convolution of V and learned biases
on both scores, which tie a network to one grid; neither is in the equation, and both are left out.

Shapes: B batch, m windows of this device, n tokens a window, T mediators of all devices, H heads, d head width.
"""

from collections.abc import Sequence

import jax
from einops import rearrange
from flax import nnx

from ptdit_jax.models.attention import Attention
from ptdit_jax.models.baselines.block import BaselineBlock
from ptdit_jax.models.baselines.dit import DiT
from ptdit_jax.models.proxy import extract_average
from ptdit_jax.models.ptdit import PTDiT
from ptdit_jax.models.window import Windowing
from ptdit_jax.parallel.axes import CONTEXT


class MediatorAttention(Attention):
    """All tokens exchange information through the mediators; devices exchange nothing but these and their values."""

    def __call__(self, x: jax.Array, layout: Windowing) -> jax.Array:
        """(B, m, n, D) -> (B, m, n, D)."""
        q, k, v = self.q(x), self.k(x), self.v(x)  # (B, m, n, H, d)
        heads = q.shape[-2]
        mediators = extract_average(rearrange(q, "b m n h d -> b m n (h d)"), layout)
        mediators = rearrange(mediators, "b m (h d) -> b m h d", h=heads)
        mediators = layout.gather(mediators, axis=1)  # (B, T, H, d)
        q, k, v = (rearrange(tokens, "b m n h d -> b (m n) h d") for tokens in (q, k, v))

        valid = layout.own(layout.valid).reshape(-1) if layout.is_padded else None  # (m·n,)
        exist = layout.gathered(layout.valid).any(1)  # (T,): a window of padding alone has no mediator
        split = CONTEXT if layout.parts > 1 else None
        values = self.mix(mediators, k, v, keys=valid, split=split)  # (B, T, H, d)
        out = self.mix(q, mediators, values, keys=None if exist.all() else exist)
        return self.out(rearrange(out, "b (m n) h d -> b m n h d", n=x.shape[2]))


class DAM(DiT):
    """DiT with mediators in its attention; windows and proxy ratios are ignored."""

    def make_block(self, index: int, rngs: nnx.Rngs) -> nnx.Module:
        """A block with mediators, whatever its index."""
        del index
        return BaselineBlock(self.arch, MediatorAttention, rngs=rngs)

    def layout(
        self, size: Sequence[int], window: Sequence[int], proxy_ratio: Sequence[int] | None, parts: int = 1
    ) -> Windowing:
        """A window for each mediator, all of one size: the grid over `arch.mediators`, rounded up."""
        p, q = self.arch.patches
        grid = (size[0], size[1] // p, size[2] // q)
        each = [-(-tokens // count) for tokens, count in zip(grid, self.arch.mediators, strict=True)]
        return PTDiT.layout(self, size, each, None, parts)
