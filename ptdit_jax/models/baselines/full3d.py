"""Full 3-D attention for video: every token of every frame attends to all, as in CogVideoX (arXiv 2408.06072)."""

from ptdit_jax.models.baselines.dit import DiT
from ptdit_jax.models.position import Tables
from ptdit_jax.models.ptdit import PTDiT
from ptdit_jax.models.window import Triple


class Full3D(DiT):
    """DiT's or, with text, PixArt-α's blocks on the tokens of all frames, with the positions of PT-DiT."""

    def position_tables(self, grid: Triple) -> Tables:
        """The parts of PT-DiT's 3-D table."""
        return PTDiT.position_tables(self, grid)
