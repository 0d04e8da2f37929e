"""PixArt-α (arXiv 2310.00426): DiT's attention and MLP with adaLN-single, and cross-attention to the text."""

from ptdit_jax.models.baselines.dit import DiT
from ptdit_jax.models.position import Tables, position_scale, tables_2d
from ptdit_jax.models.window import Triple


class PixArt(DiT):
    """PixArt-α with the call of PT-DiT: the shell and the block make it of condition "text" and adaLN-single."""

    def position_tables(self, grid: Triple) -> Tables:
        """The parts of DiT's 2-D table, in a range that depends on the declared side."""
        arch = self.arch
        return tables_2d(grid, arch.width, position_scale(arch.sample_size), arch.position_base)
