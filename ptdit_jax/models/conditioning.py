"""Time, class and text embeddings, and the two ways in which they modulate a block (adaLN-single, adaLN-Zero).

Shapes: B batch, D width, L text tokens, E features of the text encoder.  A modulation is a dict from the name of a
part of the block to its (shift, scale, gate), each (B, D) float32 or None: no modulation, no gate.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.models.layers import Linear, parameter, zeros
from ptdit_jax.models.proxy import Modulation
from ptdit_jax.parallel.axes import whole

TIME_FEATURES = 256
# Vectors a part needs: (shift, scale, gate), or (shift, scale) where nothing is gated.
PARTS = {"proxy": 3, "injection": 3, "injection_kv": 2, "window": 3, "shift": 3, "mlp": 3}


# What is embedded of t: DiT's step of 1000, or SiT's time, which is 0 at noise and 1 at data.  DiT in diffusers has
# other frequencies than DiT.
TIME_INPUTS = {
    "1000t": lambda t: 1000.0 * t,
    "1-t": lambda t: 1.0 - t,
    "1000t_diffusers": lambda t: 1000.0 * t,
}
LAST_EXPONENT = {"1000t_diffusers": TIME_FEATURES // 2 - 1}
"""Of a time input: the number j at which a frequency would be 1/10000; `TIME_FEATURES // 2` for those not listed."""


def time_features(t: jax.Array, time_input: str = "1000t") -> jax.Array:
    """`sinusoids` of s(t), s of `TIME_INPUTS`: t (B,) in [0, 1] -> (B, 256) float32."""
    last = LAST_EXPONENT.get(time_input, TIME_FEATURES // 2)
    return sinusoids(TIME_INPUTS[time_input](t.astype(jnp.float32)), last)


def sinusoids(value: jax.Array, last: int = TIME_FEATURES // 2) -> jax.Array:
    """[cos(v·freq), sin(v·freq)], freq_j = 10000^(-j/last), j < 128: v (N,) float32 -> (N, 256) float32."""
    half = TIME_FEATURES // 2
    frequency = jnp.exp(-jnp.log(10000.0) * jnp.arange(half, dtype=jnp.float32) / last)
    angle = value[:, None] * frequency
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


class TimeEmbedding(nnx.Module):
    """lin2(silu(lin1(features of t))): (B,) -> (B, D), in float32 always."""

    def __init__(self, width: int, *, rngs: nnx.Rngs, time_input: str = "1000t"):
        init = nnx.initializers.normal(0.02)
        axes = (None, "embed")
        self.time_input = time_input
        self.linear_1 = Linear(TIME_FEATURES, width, axes, dtype=jnp.float32, rngs=rngs, init=init)
        self.linear_2 = Linear(width, width, axes, dtype=jnp.float32, rngs=rngs, init=init)

    def __call__(self, t: jax.Array) -> jax.Array:
        """Embed t (B,) in [0, 1]: (B, D) float32."""
        return self.linear_2(nnx.silu(self.linear_1(time_features(t, self.time_input))))


class NumberEmbedding(nnx.Module):
    """lin2(silu(lin1(sinusoids of v))): (N,) -> (N, features), in float32 always; whole on every device."""

    def __init__(self, features: int, *, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        options = {"dtype": jnp.float32, "rngs": rngs, "init": init}
        self.linear_1 = Linear(TIME_FEATURES, features, (None, None), **options)
        self.linear_2 = Linear(features, features, (None, None), **options)

    def __call__(self, value: jax.Array) -> jax.Array:
        """Embed numbers (N,): (N, features) float32."""
        return self.linear_2(nnx.silu(self.linear_1(sinusoids(value.astype(jnp.float32)))))


class SizeEmbedding(nnx.Module):
    """Height, width and aspect ratio of a sample, a third of D each (PixArt-α's MS models, arXiv 2310.00426, Sec. 2.5).

    Args:
      width: D, a multiple of 3.
      pixels: pixel side over latent side.
      rngs: source of the initial values.
    """

    def __init__(self, width: int, pixels: int, *, rngs: nnx.Rngs):
        self.pixels = pixels
        self.resolution = NumberEmbedding(width // 3, rngs=rngs)
        self.ratio = NumberEmbedding(width // 3, rngs=rngs)

    def __call__(self, size: Sequence[int]) -> jax.Array:
        """Embed latents of size (F, H, W): (1, D) float32, [height in pixels | width in pixels | height / width]."""
        _, height, width = size
        sides = self.resolution(jnp.array([height * self.pixels, width * self.pixels], jnp.float32))
        ratio = self.ratio(jnp.array([height / width], jnp.float32))
        return jnp.concatenate([sides.reshape(1, -1), ratio], axis=-1)


class ClassEmbedding(nnx.Module):
    """A learned (B, D) row for each class; row `classes` is the null class of classifier-free guidance."""

    def __init__(self, classes: int, width: int, *, rngs: nnx.Rngs):
        self.table = parameter(nnx.initializers.normal(0.02), rngs, (classes + 1, width), (None, "embed"))

    def __call__(self, labels: jax.Array) -> jax.Array:
        """Embed labels (B,) int32: (B, D) float32."""
        return whole(self.table)[labels]


class TextProjection(nnx.Module):
    """lin2(gelu_tanh(lin1(text))): (B, L, E) encoder states -> (B, L, D)."""

    def __init__(self, text_dim: int, width: int, *, dtype, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        self.linear_1 = Linear(text_dim, width, (None, "mlp"), dtype=dtype, rngs=rngs, init=init)
        self.linear_2 = Linear(width, width, ("mlp", "embed"), dtype=dtype, rngs=rngs, init=init)

    def __call__(self, text: jax.Array) -> jax.Array:
        """Project text (B, L, E): (B, L, D)."""
        return self.linear_2(nnx.gelu(self.linear_1(text), approximate=True))


class SharedModulation(nnx.Module):
    """t6 of adaLN-single (PixArt-α, arXiv 2310.00426): one Linear for all blocks, emb (B, D) -> (B, 6, D)."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        init = nnx.initializers.normal(0.02)
        self.linear = Linear(width, (6, width), ("embed", None), dtype=jnp.float32, rngs=rngs, init=init)

    def __call__(self, emb: jax.Array) -> jax.Array:
        """emb (B, D) -> t6 (B, 6, D), float32."""
        return self.linear(nnx.silu(emb))


class AdaLNSingle(nnx.Module):
    """A block's share of adaLN-single: tables (6, D) and (3, D) added to t6 and t6[:, :3]."""

    def __init__(self, width: int, parts: tuple[str, ...], *, rngs: nnx.Rngs):
        init = nnx.initializers.normal(width**-0.5)
        self.table = parameter(init, rngs, (6, width), (None, "embed"))
        self.shift_table = parameter(init, rngs, (3, width), (None, "embed")) if "shift" in parts else None

    def __call__(self, t6: jax.Array) -> Modulation:
        """t6 (B, 6, D) -> the modulation of "window", "mlp" and, in blocks that have it, "shift"."""
        rows = whole(self.table) + t6  # (B, 6, D): s1, c1, g1, s2, c2, g2
        modulation: Modulation = {part: (None, None, None) for part in PARTS}
        modulation["window"] = (rows[:, 0], rows[:, 1], rows[:, 2])
        modulation["mlp"] = (rows[:, 3], rows[:, 4], rows[:, 5])
        if self.shift_table is not None:
            rows = whole(self.shift_table) + t6[:, :3]  # (B, 3, D): s3, c3, g3
            modulation["shift"] = (rows[:, 0], rows[:, 1], rows[:, 2])
        return modulation


class AdaLNZero(nnx.Module):
    """A block's own silu and zero-initialised Linear(D -> k·D) (DiT, arXiv 2212.09748), for the parts named."""

    def __init__(self, width: int, parts: tuple[str, ...], *, rngs: nnx.Rngs):
        self.parts = parts
        rows = sum(PARTS[part] for part in parts)
        axes = ("embed", None)
        self.linear = (
            Linear(width, (rows, width), axes, dtype=jnp.float32, rngs=rngs, init=zeros) if rows else None
        )

    def __call__(self, emb: jax.Array) -> Modulation:
        """emb (B, D) -> the modulation of `parts`."""
        modulation: Modulation = {part: (None, None, None) for part in PARTS}
        if self.linear is None:
            return modulation
        rows, start = self.linear(nnx.silu(emb)), 0  # (B, k, D)
        for part in self.parts:
            shift, scale = rows[:, start], rows[:, start + 1]
            modulation[part] = (shift, scale, rows[:, start + 2] if PARTS[part] == 3 else None)
            start += PARTS[part]
        return modulation
