"""PixArt-α (arXiv 2310.00426): DiT's attention and MLP with adaLN-single, and cross-attention to the text."""

from collections.abc import Sequence

import jax
from flax import nnx

from ptdit_jax.models.baselines.dit import DiT
from ptdit_jax.models.conditioning import SizeEmbedding
from ptdit_jax.models.position import Tables, position_scale, tables_2d
from ptdit_jax.models.ptdit import Condition
from ptdit_jax.models.variants import Architecture
from ptdit_jax.models.window import Triple


class PixArt(DiT):
    """PixArt-α with the call of PT-DiT: the shell and the block make it of condition "text" and adaLN-single.

    The published MS models, for many aspect ratios, embed the size of a sample too (`arch.size_condition`).
    """

    def __init__(self, arch: Architecture, *, rngs: nnx.Rngs):
        super().__init__(arch, rngs=rngs)
        self.size_embedding = (
            SizeEmbedding(arch.width, arch.size_condition, rngs=rngs) if arch.size_condition else None
        )

    def embed_condition(self, t: jax.Array, condition: Condition, size: Sequence[int]):
        """As of `PTDiT`; the MS models' size is added to the time."""
        emb, text, text_mask = super().embed_condition(t, condition, size)
        return emb if self.size_embedding is None else emb + self.size_embedding(size), text, text_mask

    def position_tables(self, grid: Triple) -> Tables:
        """The parts of DiT's 2-D table, in a range that depends on the declared side."""
        arch = self.arch
        return tables_2d(grid, arch.width, position_scale(arch.sample_size), arch.position_base)
