"""CausalVAE, the video autoencoder of the released models: four frames and 8x8 pixels a latent, one image one frame.

Modules have the names of the released weights, less what `RENAMED` says.  Frames are convolved without a look ahead,
but group norms are over all frames of a film: it is not the same in parts (`tiling`).

Shapes: B samples, F frames, C latent channels, H rows, W columns, channels last.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.encoders.convolution import (
    CausalConv,
    Conv,
    FrameAttention,
    GroupNorm,
    ResnetBlock,
    doubled,
    folded,
    nearest_then_conv,
    unfolded,
)

RENAMED = {"shortcut": "nin_shortcut", "out": "proj_out"}
"""Parts of names here, and in the released weights."""
CLASSES = ("CausalVAEModel", "CausalVAE")
GROUPS = 32
LATENT_CHANNELS = 4
SCALE = 0.18215
LEVELS = 4
FACTOR = (4, 8, 8)

FIXED: Mapping[str, Any] = {
    "encoder_conv_in": "Conv2d",
    "encoder_resnet_blocks": ["ResnetBlock2D", "ResnetBlock2D", "ResnetBlock3D", "ResnetBlock3D"],
    "encoder_spatial_downsample": [
        "Downsample",
        "Spatial2xTime2x3DDownsample",
        "Spatial2xTime2x3DDownsample",
        "",
    ],
    "encoder_temporal_downsample": ["", "", "", ""],
    "decoder_spatial_upsample": [
        "",
        "SpatialUpsample2x",
        "Spatial2xTime2x3DUpsample",
        "Spatial2xTime2x3DUpsample",
    ],
    "decoder_temporal_upsample": ["", "", "", ""],
    "attn_resolutions": [],
    "z_channels": LATENT_CHANNELS,
    "embed_dim": LATENT_CHANNELS,
    "double_z": True,
}
"""What fields of a config.json say of the network that is built here; others of it are not."""


@dataclasses.dataclass(frozen=True)
class CausalArchitecture:
    """What a config.json says.

    Attributes:
      hidden_size: width of the level of the pixels.
      hidden_size_mult: width of each of the four levels over that.
      num_res_blocks: residual blocks of a level of the encoder; the decoder has one more.
      use_tiling: whether what is larger than a tile is cut into tiles.
      tile_sample_min_size: pixels a side of a tile.
      tile_sample_min_size_t: frames of a tile.
      tile_latent_min_size_t: latent frames of a tile.
      tile_overlap_factor: share of a tile that is blended with the next.
    """

    hidden_size: int = 128
    hidden_size_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    use_tiling: bool = True
    tile_sample_min_size: int = 512
    tile_sample_min_size_t: int = 29
    tile_latent_min_size_t: int = 8
    tile_overlap_factor: float = 0.125

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the levels, from pixels to latents."""
        return tuple(self.hidden_size * multiple for multiple in self.hidden_size_mult)

    def build(self, dtype: Any, rngs: nnx.Rngs) -> "CausalVAE":
        """The network."""
        return CausalVAE(self, dtype=dtype, rngs=rngs)


def architecture(facts: Mapping[str, Any], where: str) -> CausalArchitecture:
    """The network of a config.json.

    Args:
      facts: its content.
      where: its name, for messages.

    Raises:
      ValueError: a field is of another network, or of a wrong kind.
    """
    for name, wanted in FIXED.items():
        if (given := facts.get(name, wanted)) != wanted:
            raise ValueError(f"{where}: {name} is {given!r}; only {wanted!r} is supported")
    found: dict[str, Any] = {}
    for field in dataclasses.fields(CausalArchitecture):
        value = facts.get(field.name, field.default)
        value = tuple(value) if isinstance(value, list) else value
        if type(value) is not type(field.default) or (isinstance(value, int) and value < 0):
            raise ValueError(f"{where}: {field.name}={value!r} must be like {field.default!r}")
        found[field.name] = value
    arch = CausalArchitecture(**found)
    multiples = arch.hidden_size_mult
    if len(multiples) != LEVELS or any(type(multiple) is not int or multiple < 1 for multiple in multiples):
        raise ValueError(f"{where}: hidden_size_mult={multiples} must be four whole numbers above 0")
    if arch.hidden_size < 1 or any(width % GROUPS for width in arch.widths):
        raise ValueError(
            f"{where}: hidden_size={arch.hidden_size} times hidden_size_mult={multiples} must be multiples of {GROUPS}"
        )
    return arch


class Resampling(nnx.Module):
    """The convolution that ends a level: of frames, of films, or of frames written as one of films.

    Args:
      width: D.
      how: "frames" halves rows and columns, "films" time too, "up_frames" and "up_films" double.
      dtype: compute dtype.
      rngs: source of the initial values.
    """

    def __init__(self, width: int, how: str, *, dtype, rngs: nnx.Rngs):
        self.how = how
        if how == "frames":
            self.conv = Conv(width, width, (3, 3), dtype=dtype, rngs=rngs)
        else:
            window = (1, 3, 3) if how == "up_frames" else (3, 3, 3)
            self.conv = CausalConv(width, width, window, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (B, F, H, W, D) -> (B, F', H', W', D)."""
        if self.how == "frames":
            return unfolded(
                self.conv(folded(x), strides=(2, 2), padding=((0, 1), (0, 1))),  # type: ignore
                len(x),
            )
        if self.how == "films":
            return self.conv(x, strides=(2, 2, 2), padding=((0, 1), (0, 1)))
        if self.how == "up_frames":
            kernel, bias = self.conv.conv.weights()  # type: ignore
            return unfolded(nearest_then_conv(folded(x), kernel[0], bias), len(x))
        return self.conv(interpolated(x))


def interpolated(x: jax.Array) -> jax.Array:
    """Rows and columns doubled, and time of all but the first frame: (B, F, H, W, C) -> (B, 2F-1, 2H, 2W, C).

    The first frame is interpolated with no other, and the second with none before it.
    """
    if x.shape[1] > 1:
        x = jnp.concatenate([x[:, :1], doubled(x[:, 1:], 1)], axis=1)
    return doubled(doubled(x, 2), 3)


class Level(nnx.Module):
    """Residual blocks of one width, and what halves or doubles after them."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        blocks: int,
        *,
        of_frames: bool,
        resample: str,
        dtype,
        rngs: nnx.Rngs,
    ):
        self.of_frames = of_frames
        widths = [inputs] + [outputs] * blocks
        conv = Conv if of_frames else CausalConv
        self.block = nnx.List(
            ResnetBlock(a, b, conv=conv, groups=GROUPS, dtype=dtype, rngs=rngs)
            for a, b in itertools.pairwise(widths)
        )
        one = Resampling(outputs, resample, dtype=dtype, rngs=rngs) if resample else None
        if resample.startswith("up"):
            self.upsample = one
        elif resample:
            self.downsample = one

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (B, F, H, W, C) -> (B, F', H', W', D)."""
        samples = len(x)
        x = folded(x) if self.of_frames else x
        for block in self.block:
            x = block(x)
        x = unfolded(x, samples) if self.of_frames else x
        resample = getattr(self, "upsample", None) or getattr(self, "downsample", None)
        return x if resample is None else resample(x)


class Middle(nnx.Module):
    """Two residual blocks with attention between them."""

    def __init__(self, width: int, *, dtype, rngs: nnx.Rngs):
        options: dict[str, Any] = {"conv": CausalConv, "dtype": dtype, "rngs": rngs}
        self.block_1 = ResnetBlock(width, width, groups=GROUPS, **options)
        self.attn_1 = FrameAttention(width, GROUPS, window=(1, 1, 1), **options)
        self.block_2 = ResnetBlock(width, width, groups=GROUPS, **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (B, F, h, w, D) -> the same."""
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nnx.Module):
    """Films to 2C channels."""

    def __init__(self, arch: CausalArchitecture, *, dtype, rngs: nnx.Rngs):
        widths, options = arch.widths, {"dtype": dtype, "rngs": rngs}
        self.conv_in = Conv(3, widths[0], (3, 3), **options)
        self.down = nnx.List(
            Level(a, b, arch.num_res_blocks, of_frames=i < 2, resample=how, **options)
            for i, (a, b, how) in enumerate(
                zip((widths[0], *widths), widths, ("frames", "films", "films", ""))
            )
        )
        self.mid = Middle(widths[-1], **options)
        self.norm_out = GroupNorm(widths[-1], GROUPS, rngs=rngs)
        self.conv_out = CausalConv(widths[-1], 2 * LATENT_CHANNELS, (3, 3, 3), **options)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x (B, F, H, W, 3) -> (B, f, h, w, 2C)."""
        x = unfolded(self.conv_in(folded(x)), len(x))
        for level in self.down:
            x = level(x)
        return self.conv_out(nnx.silu(self.norm_out(self.mid(x))))


class Decoder(nnx.Module):
    """C channels to films."""

    def __init__(self, arch: CausalArchitecture, *, dtype, rngs: nnx.Rngs):
        widths, options = arch.widths, {"dtype": dtype, "rngs": rngs}
        self.conv_in = CausalConv(LATENT_CHANNELS, widths[-1], (3, 3, 3), **options)
        self.mid = Middle(widths[-1], **options)
        before = (*widths[1:], widths[-1])  # level 3 runs first
        self.up = nnx.List(
            Level(a, b, arch.num_res_blocks + 1, of_frames=False, resample=how, **options)
            for a, b, how in zip(before, widths, ("", "up_frames", "up_films", "up_films"))
        )
        self.norm_out = GroupNorm(widths[0], GROUPS, rngs=rngs)
        self.conv_out = CausalConv(widths[0], 3, (3, 3, 3), **options)

    def __call__(self, z: jax.Array) -> jax.Array:
        """z (B, f, h, w, C) -> (B, F, H, W, 3)."""
        x = self.mid(self.conv_in(z))
        for level in reversed(list(self.up)):
            x = level(x)
        return self.conv_out(nnx.silu(self.norm_out(x)))


class CausalVAE(nnx.Module):
    """The network; see `CausalArchitecture`.

    Args:
      arch: its sizes.
      dtype: of products and of what lies between blocks; norms and softmax are float32.
      rngs: source of the initial values.
    """

    def __init__(self, arch: CausalArchitecture, *, dtype, rngs: nnx.Rngs):
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        self.encoder, self.decoder = Encoder(arch, **options), Decoder(arch, **options)
        self.quant_conv = CausalConv(2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, (1, 1, 1), **options)
        self.post_quant_conv = CausalConv(LATENT_CHANNELS, LATENT_CHANNELS, (1, 1, 1), **options)

    def encode(self, x: jax.Array) -> jax.Array:
        """Pixels in [-1, 1] (B, F, H, W, 3) -> mean and raw log-variance (B, f, h, w, 2C), unscaled.

        F = 4k + 1 frames give k + 1; other numbers run, and are not those that `decode` gives back.
        """
        return self.quant_conv(self.encoder(x))

    def decode(self, z: jax.Array) -> jax.Array:
        """Unscaled latents (B, f, h, w, C) -> pixels about [-1, 1] (B, 4f - 3, H, W, 3)."""
        return self.decoder(self.post_quant_conv(z))
