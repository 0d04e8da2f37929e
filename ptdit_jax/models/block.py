"""The PT-DiT block: six steps, in order (Sec. 3.2 of arXiv 2409.04005).

Shapes: B batch, m windows of this device, n tokens a window, D width, L text tokens.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.models.attention import CrossAttention
from ptdit_jax.models.conditioning import AdaLNSingle, AdaLNZero
from ptdit_jax.models.feed_forward import MLP, feed_forward
from ptdit_jax.models.layers import Linear, gated, modulated_norm, zeros
from ptdit_jax.models.proxy import GIIM
from ptdit_jax.models.variants import Architecture
from ptdit_jax.models.window import WindowAttention, Windowing


class PTBlock(nnx.Module):
    """GIIM (Eq. 1), window and shifted-window attention (TCM, Eq. 2), text cross-attention, MLP.

    Args:
      arch: the network's facts.
      shifted: whether this block has the shifted windows.
      rngs: source of the initial values.
    """

    def __init__(self, arch: Architecture, *, shifted: bool, rngs: nnx.Rngs):
        width, heads, dtype = arch.width, arch.heads, jnp.dtype(arch.compute_dtype)
        has = {"proxy": arch.giim, "injection": arch.giim, "injection_kv": arch.giim, "window": arch.tcm}
        has |= {"shift": shifted, "mlp": True}
        self.dtype, self.remat = dtype, arch.remat
        if arch.adaln == "single":
            self.modulation = AdaLNSingle(width, tuple(p for p in has if has[p]), rngs=rngs)
        else:
            self.modulation = AdaLNZero(
                width, tuple(p for p in has if has[p] and p in arch.modulated), rngs=rngs
            )
        options = {"dtype": dtype, "rngs": rngs}
        attend: dict[str, Any] = {**options, **arch.attention_options}
        self.giim = GIIM(arch, **options) if arch.giim else None
        self.window_attention = WindowAttention(width, heads, shifted=False, **attend) if arch.tcm else None
        self.shifted_attention = WindowAttention(width, heads, shifted=True, **attend) if shifted else None
        self.linear_2 = (
            Linear(width, width, ("embed", None), init=zeros, **options)
            if shifted and arch.zero_linears
            else None
        )
        self.text_attention = CrossAttention(width, heads, **attend) if arch.condition == "text" else None
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
        """One block.

        Args:
          z: (B, m, n, D) residual stream.
          emb: (B, 6, D) t6 of adaLN-single, or the (B, D) embedding of adaLN-Zero, float32.
          text: (B, L, D) or None.
          text_mask: (B, L) bool, True = keep, or None.
          layout: the windows of this size.
          keys: (B,), for extraction="random".

        Returns:
          (B, m, n, D).
        """
        return self.with_update(z, emb, text, text_mask, layout, keys, None)[0]

    def with_update(
        self,
        z: jax.Array,
        emb: jax.Array,
        text: jax.Array | None,
        text_mask: jax.Array | None,
        layout: Windowing,
        keys: jax.Array | None,
        update: jax.Array | None,
    ) -> tuple[jax.Array, jax.Array | None]:
        """One block, and what its global branch (proxies and injection) added to z.

        Args:
          z: as of a call, and so are the next five.
          emb: see there.
          text: see there.
          text_mask: see there.
          layout: see there.
          keys: see there.
          update: (B, m, n, D) to add in the place of what the global branch would compute; None computes it.

        Returns:
          z (B, m, n, D) and the update (B, m, n, D), None without a global branch.
        """
        modulation = self.modulation(emb)

        if self.giim is not None:  # steps 1 and 2, Eq. 1
            if update is None:
                update = self.giim.update(z, modulation, layout, keys)  # (B, m, n, D)
            z = z + update

        if self.window_attention is not None:  # step 3, WSA of Eq. 2
            shift, scale, gate = modulation["window"]
            normed = modulated_norm(z, shift, scale, self.dtype)
            z = z + gated(self.window_attention(normed, layout), gate)  # (B, m, n, D)

        if self.shifted_attention is not None:  # step 4, SWSA of Eq. 2
            shift, scale, gate = modulation["shift"]
            shifted = self.shifted_attention(modulated_norm(z, shift, scale, self.dtype), layout)
            shifted = gated(shifted, gate)  # the gate stands inside linear_2
            z = z + (shifted if self.linear_2 is None else self.linear_2(shifted))  # (B, m, n, D)

        if self.text_attention is not None:  # step 5
            z = z + attend_text(self.text_attention, z, text, text_mask)

        return z + feed_forward(
            self.mlp, z, modulation["mlp"], dtype=self.dtype, remat=self.remat
        ), update  # step 6


def attend_text(
    attention: CrossAttention, z: jax.Array, text: jax.Array | None, text_mask: jax.Array | None
) -> jax.Array:
    """Cross-attention of all tokens to the text, no norm on the query: z (B, m, n, D), text (B, L, D) -> like z."""
    assert text is not None
    flat = z.reshape(z.shape[0], -1, z.shape[-1])  # (B, N, D)
    return attention(flat, text, keys=text_mask).reshape(z.shape)
