"""The block that all baselines share: one or two attentions, cross-attention to the text, MLP.

Shapes: B batch, m windows of this device, n tokens a window, D width, L text tokens.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.models.attention import Attention, CrossAttention
from ptdit_jax.models.block import attend_text
from ptdit_jax.models.conditioning import AdaLNSingle, AdaLNZero
from ptdit_jax.models.feed_forward import MLP, feed_forward
from ptdit_jax.models.layers import gated, modulated_norm, zeros
from ptdit_jax.models.variants import Architecture
from ptdit_jax.models.window import Windowing


class BaselineBlock(nnx.Module):
    """z + g1·Mixer(LN(z)·(1+c1)+s1), then + Text(z) with text only, then + g2·MLP(LN(z)·(1+c2)+s2).

    A second mixer, if any, follows the first in the same form with a modulation of its own.  (s, c, g) are those of
    adaLN-Zero (arXiv 2212.09748) or adaLN-single (arXiv 2310.00426), whose text attention starts at zero.

    Args:
      arch: the network's facts.
      mixer: class of the attention, called as `mixer(x (B, m, n, D), layout)`.
      temporal: class of the second one, or None.
      rngs: source of the initial values.
    """

    def __init__(
        self,
        arch: Architecture,
        mixer: type[Attention],
        temporal: type[Attention] | None = None,
        *,
        rngs: nnx.Rngs,
    ):
        width, heads, dtype = arch.width, arch.heads, jnp.dtype(arch.compute_dtype)
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs, **arch.attention_options}
        modulation = AdaLNSingle if arch.adaln == "single" else AdaLNZero
        self.dtype, self.remat = dtype, arch.remat
        # Parts are named as PT-DiT's: "window" is the first attention, "shift" the second.
        parts = ("window", "mlp") if temporal is None else ("window", "shift", "mlp")
        self.modulation = modulation(width, parts, rngs=rngs)
        self.attention = mixer(width, heads, **options)
        self.temporal_attention = temporal(width, heads, **options) if temporal else None
        self.text_attention = (
            CrossAttention(width, heads, **options, out_init=zeros) if arch.condition == "text" else None
        )
        self.mlp = MLP(width, arch.mlp_ratio * width, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        z: jax.Array,
        emb: jax.Array,
        text: jax.Array | None,
        text_mask: jax.Array | None,
        layout: Windowing,
        keys: jax.Array | None,
    ) -> jax.Array:
        """One block; arguments and result as of `models.block.PTBlock`."""
        del keys
        modulation = self.modulation(emb)
        for mixer, part in ((self.attention, "window"), (self.temporal_attention, "shift")):
            if mixer is not None:
                shift, scale, gate = modulation[part]
                z = z + gated(mixer(modulated_norm(z, shift, scale, self.dtype), layout), gate)
        if self.text_attention is not None:
            z = z + attend_text(self.text_attention, z, text, text_mask)
        return z + feed_forward(self.mlp, z, modulation["mlp"], dtype=self.dtype, remat=self.remat)
