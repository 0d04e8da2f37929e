"""Factorised 2D+1D attention for video: within each frame, then along the frames at each position.

The block is that of Open-Sora 1.1, STDiT2 (arXiv 2412.20404): both attentions in every block, each with its own norm
and modulation, then text and MLP.  The spatial attention is DiT's or, with text, PixArt-α's.

Shapes: B batch, f frames and n tokens of a frame on this device, D width.  A frame is a window, (B, f, n, D).
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from flax import nnx

from ptdit_jax.models.attention import Attention
from ptdit_jax.models.baselines.block import BaselineBlock
from ptdit_jax.models.ptdit import PTDiT
from ptdit_jax.models.window import Windowing

# Along "context" a device has some of the frames, or some rows or columns of all of them: one of the two attentions
# is its own, and the other gathers keys and values.


def some(valid: np.ndarray) -> np.ndarray | None:
    """Which keys exist, (K,) bool, or None where all of them do."""
    return None if valid.all() else valid


class SpatialAttention(Attention):
    """Self-attention among the tokens of each frame."""

    def __call__(self, x: jax.Array, layout: Windowing) -> jax.Array:
        """(B, f, n, D) -> (B, f, n, D)."""
        if layout.axis == 0:  # whole frames
            return self.attend(x, x)
        frame = layout.by_slab(layout.valid)[:, 0].reshape(-1)  # (parts·n,), the same in every frame
        return self.attend(x, x, keys=some(frame), gather=functools.partial(layout.gather, axis=-3))


class TemporalAttention(Attention):
    """Self-attention along the frames, at each position in them."""

    def __call__(self, x: jax.Array, layout: Windowing) -> jax.Array:
        """(B, f, n, D) -> (B, f, n, D)."""
        x = x.swapaxes(1, 2)  # (B, n, f, D)
        if layout.axis == 0:
            frames = layout.valid[:, 0]  # slabs follow each other as frames do
            x = self.attend(x, x, keys=some(frames), gather=functools.partial(layout.gather, axis=-3))
        else:
            x = self.attend(x, x)
        return x.swapaxes(1, 2)


class Factorized(PTDiT):
    """Blocks of spatial and temporal attention with the call and the positions of PT-DiT; windows are ignored."""

    def make_block(self, index: int, rngs: nnx.Rngs) -> nnx.Module:
        """A block with both attentions, whatever its index."""
        del index
        return BaselineBlock(self.arch, SpatialAttention, TemporalAttention, rngs=rngs)

    def layout(
        self, size: Sequence[int], window: Sequence[int], proxy_ratio: Sequence[int] | None, parts: int = 1
    ) -> Windowing:
        """A window for each frame, or for each frame of a slab."""
        tokens = super().layout(size, (1, 1, 1), None, parts)
        frame = (1, *tokens.slab_grid[1:])
        return dataclasses.replace(tokens, window=frame, proxy=frame)
