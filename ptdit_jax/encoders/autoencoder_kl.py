"""AutoencoderKL, the image autoencoder of Stable Diffusion (arXiv 2112.10752), SDXL, SD3 and Flux.

Modules have the names of the weights in diffusers, less what `RENAMED` says.

Shapes: B samples, F frames, N = B·F, C latent channels, H rows, W columns, each frame on its own, channels last.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from ptdit_jax.encoders.convolution import (
    Conv,
    FrameAttention,
    GroupNorm,
    ResnetBlock,
    folded,
    nearest_then_conv,
    unfolded,
)

RENAMED = {"shortcut": "conv_shortcut", "norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v"}
RENAMED |= {"out": "to_out.0"}
"""Parts of names here, and in diffusers."""
OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Parts of names in files of old versions of diffusers."""


@dataclasses.dataclass(frozen=True)
class KLArchitecture:
    """What the config.json of a folder of diffusers says.

    Attributes:
      latent_channels: C.
      block_out_channels: width of each level, from pixels to latents; each but the last halves the picture.
      layers_per_block: residual blocks of a level of the encoder; the decoder has one more.
      norm_num_groups: groups of every norm.
      in_channels: of pictures.
      out_channels: of pictures that are decoded.
      use_quant_conv: whether a 1x1 convolution ends the encoder.
      use_post_quant_conv: whether one begins the decoder.
      mid_block_add_attention: whether the narrowest level has attention.
      scaling_factor: what latents are multiplied with for the denoiser.
      shift_factor: what is subtracted before.
      latents_mean: the same for each channel; () where the file has none.
      latents_std: what each channel is divided by; () where the file has none.
      sample_size: pixels a side of a tile, where pictures are cut into tiles.
    """

    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    norm_num_groups: int = 32
    in_channels: int = 3
    out_channels: int = 3
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True
    scaling_factor: float = 0.18215
    shift_factor: float = 0.0
    latents_mean: tuple[float, ...] = ()
    latents_std: tuple[float, ...] = ()
    sample_size: int = 32

    @property
    def factor(self) -> tuple[int, int, int]:
        """Pixels a latent, along time, rows and columns."""
        side = 2 ** (len(self.block_out_channels) - 1)
        return 1, side, side

    def build(self, dtype: Any, rngs: nnx.Rngs) -> "AutoencoderKL":
        """The network."""
        return AutoencoderKL(self, dtype=dtype, rngs=rngs)


FIXED: Mapping[str, Any] = {
    "act_fn": "silu",
    "down_block_types": "DownEncoderBlock2D",  # all of them
    "up_block_types": "UpDecoderBlock2D",
}
DEFAULTS = KLArchitecture()


def architecture(facts: Mapping[str, Any], where: str) -> KLArchitecture:
    """The network of a config.json.

    Args:
      facts: its content.
      where: its name, for messages.

    Raises:
      ValueError: a field is of another network, or of a wrong kind.
    """
    for name, wanted in FIXED.items():
        given = facts.get(name, wanted)
        if any(value != wanted for value in (given if isinstance(given, list) else [given])):
            raise ValueError(f"{where}: {name} is {given!r}; only {wanted!r} is supported")
    found: dict[str, Any] = {}
    for field in dataclasses.fields(KLArchitecture):
        value = facts.get(field.name)
        if value is None:
            continue
        default = getattr(DEFAULTS, field.name)
        if field.name == "sample_size" and isinstance(value, list) and value:
            value = value[0]  # as diffusers
        found[field.name] = _as(type(default), value, f"{where}: {field.name}={value!r}")
    arch = dataclasses.replace(DEFAULTS, **found)
    _check(arch, facts, where)
    return arch


def _check(arch: KLArchitecture, facts: Mapping[str, Any], where: str) -> None:
    for name in ("down_block_types", "up_block_types"):
        if isinstance(given := facts.get(name), list) and len(given) != len(arch.block_out_channels):
            raise ValueError(
                f"{where}: {name} has {len(given)} levels, block_out_channels {len(arch.block_out_channels)}"
            )
    for width in arch.block_out_channels:
        if width < 1 or width % max(arch.norm_num_groups, 1):
            raise ValueError(
                f"{where}: block_out_channels={arch.block_out_channels} must be multiples of norm_num_groups="
                f"{arch.norm_num_groups}"
            )
    if arch.in_channels != arch.out_channels:
        raise ValueError(f"{where}: in_channels={arch.in_channels} is not out_channels={arch.out_channels}")
    for name in ("latents_mean", "latents_std"):
        values = getattr(arch, name)
        if values and len(values) != arch.latent_channels:
            raise ValueError(
                f"{where}: {name} has {len(values)} numbers, latent_channels={arch.latent_channels}"
            )
    if bool(arch.latents_mean) != bool(arch.latents_std) or (arch.latents_mean and arch.shift_factor):
        raise ValueError(f"{where}: latents_mean and latents_std come together, and without a shift_factor")


def _as(kind: type, value: Any, what: str) -> Any:
    """A value of JSON as a field's kind."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and number and int(value) == value and value > 0:
        return int(value)
    if kind is float and number:
        return float(value)
    if kind is tuple and isinstance(value, list) and value:
        return tuple(value)
    names = {bool: "true or false", int: "a whole number above 0", float: "a number", tuple: "a list"}
    raise ValueError(f"{what} must be {names[kind]}")


class MidBlock(nnx.Module):
    """Two residual blocks with attention between them."""

    def __init__(self, arch: KLArchitecture, *, dtype, rngs: nnx.Rngs):
        width, groups = arch.block_out_channels[-1], arch.norm_num_groups
        blocks = [
            ResnetBlock(width, width, conv=Conv, groups=groups, dtype=dtype, rngs=rngs) for _ in range(2)
        ]
        self.resnets = nnx.List(blocks)
        attentions = [FrameAttention(width, groups, conv=Conv, window=(), dtype=dtype, rngs=rngs)]
        self.attentions = nnx.List(attentions if arch.mid_block_add_attention else [])

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (N, h, w, D) -> the same."""
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class Resampling(nnx.Module):
    """The convolution that ends a level."""

    def __init__(self, width: int, *, dtype, rngs: nnx.Rngs):
        self.conv = Conv(width, width, (3, 3), dtype=dtype, rngs=rngs)

    def halve(self, x: jax.Array) -> jax.Array:
        """x (N, H, W, D) -> (N, H/2, W/2, D): one row of zeros below, one column right, every second window."""
        return self.conv(x, strides=(2, 2), padding=((0, 1), (0, 1)))

    def double(self, x: jax.Array) -> jax.Array:
        """x (N, H, W, D) -> (N, 2H, 2W, D)."""
        return nearest_then_conv(x, *self.conv.weights())


class Level(nnx.Module):
    """Residual blocks of one width, and in all but the last level what halves or doubles the picture."""

    def __init__(
        self, inputs: int, outputs: int, blocks: int, groups: int, *, resample: str, dtype, rngs: nnx.Rngs
    ):
        widths = [inputs] + [outputs] * blocks
        made = [
            ResnetBlock(a, b, conv=Conv, groups=groups, dtype=dtype, rngs=rngs)
            for a, b in itertools.pairwise(widths)
        ]
        self.resnets = nnx.List(made)
        one = nnx.List([Resampling(outputs, dtype=dtype, rngs=rngs)] if resample else [])
        if resample == "down":
            self.downsamplers = one
        elif resample == "up":
            self.upsamplers = one
        self.resample = resample

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (N, H, W, C) -> (N, H', W', D)."""
        for block in self.resnets:
            x = block(x)
        if self.resample == "down":
            return self.downsamplers[0].halve(x)
        return self.upsamplers[0].double(x) if self.resample == "up" else x


class Encoder(nnx.Module):
    """Pictures to 2C channels."""

    def __init__(self, arch: KLArchitecture, *, dtype, rngs: nnx.Rngs):
        widths, groups = arch.block_out_channels, arch.norm_num_groups
        self.conv_in = Conv(arch.in_channels, widths[0], (3, 3), dtype=dtype, rngs=rngs)
        levels = [
            Level(a, b, arch.layers_per_block, groups, resample="down", dtype=dtype, rngs=rngs)
            for a, b in zip((widths[0], *widths), widths[:-1])
        ]
        before = widths[max(len(widths) - 2, 0)]
        levels.append(
            Level(before, widths[-1], arch.layers_per_block, groups, resample="", dtype=dtype, rngs=rngs)
        )
        self.down_blocks = nnx.List(levels)
        self.mid_block = MidBlock(arch, dtype=dtype, rngs=rngs)
        self.conv_norm_out = GroupNorm(widths[-1], groups, rngs=rngs)
        self.conv_out = Conv(widths[-1], 2 * arch.latent_channels, (3, 3), dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (N, H, W, 3) -> (N, h, w, 2C)."""
        x = self.conv_in(x)
        for level in self.down_blocks:
            x = level(x)
        x = self.mid_block(x)
        return self.conv_out(nnx.silu(self.conv_norm_out(x)))


class Decoder(nnx.Module):
    """C channels to pictures."""

    def __init__(self, arch: KLArchitecture, *, dtype, rngs: nnx.Rngs):
        widths, groups, blocks = (
            arch.block_out_channels[::-1],
            arch.norm_num_groups,
            arch.layers_per_block + 1,
        )
        self.conv_in = Conv(arch.latent_channels, widths[0], (3, 3), dtype=dtype, rngs=rngs)
        self.mid_block = MidBlock(arch, dtype=dtype, rngs=rngs)
        resample = ["up"] * (len(widths) - 1) + [""]
        self.up_blocks = nnx.List(
            Level(a, b, blocks, groups, resample=how, dtype=dtype, rngs=rngs)
            for a, b, how in zip((widths[0], *widths), widths, resample)
        )
        self.conv_norm_out = GroupNorm(widths[-1], groups, rngs=rngs)
        self.conv_out = Conv(widths[-1], arch.out_channels, (3, 3), dtype=dtype, rngs=rngs)

    def __call__(self, z: jax.Array) -> jax.Array:
        """z (N, h, w, C) -> (N, H, W, 3)."""
        x = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            x = level(x)
        return self.conv_out(nnx.silu(self.conv_norm_out(x)))


class AutoencoderKL(nnx.Module):
    """The network; see `KLArchitecture`.

    Args:
      arch: its sizes.
      dtype: of products and of what lies between blocks; norms and softmax are float32.
      rngs: source of the initial values.
    """

    def __init__(self, arch: KLArchitecture, *, dtype, rngs: nnx.Rngs):
        channels = arch.latent_channels
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        self.encoder, self.decoder = Encoder(arch, **options), Decoder(arch, **options)
        self.quant_conv = Conv(2 * channels, 2 * channels, (1, 1), **options) if arch.use_quant_conv else None
        self.post_quant_conv = (
            Conv(channels, channels, (1, 1), **options) if arch.use_post_quant_conv else None
        )

    def encode(self, x: jax.Array) -> jax.Array:
        """Pixels in [-1, 1] (B, F, H, W, 3) -> mean and raw log-variance (B, F, h, w, 2C), unscaled."""
        y = self.encoder(folded(x))
        return unfolded(y if self.quant_conv is None else self.quant_conv(y), len(x))

    def decode(self, z: jax.Array) -> jax.Array:
        """Unscaled latents (B, F, h, w, C) -> pixels about [-1, 1] (B, F, H, W, 3)."""
        y = folded(z)
        return unfolded(self.decoder(y if self.post_quant_conv is None else self.post_quant_conv(y)), len(z))
