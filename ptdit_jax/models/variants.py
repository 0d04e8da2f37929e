"""The published sizes, and the one place where a config becomes the facts of a network."""

import dataclasses
import math
from typing import Any

import ml_collections

from ptdit_jax.models.attention.choice import EINSUM, resolve


@dataclasses.dataclass(frozen=True)
class Size:
    """Blocks, width D and heads of a published variant."""

    depth: int
    width: int
    heads: int


# Table 4 of arXiv 2409.04005; L-Class and B-Class widths are inferred from published costs (docs: variants).
PTDIT_VARIANTS = {
    "S": Size(10, 288, 6),
    "B": Size(12, 640, 10),
    "L": Size(28, 864, 12),
    "XL": Size(28, 1152, 16),
    "H": Size(30, 1440, 20),
    "S-Class": Size(10, 288, 6),
    "B-Class": Size(14, 528, 11),
    "L-Class": Size(24, 864, 12),
}
# DiT, arXiv 2212.09748, Table 1 and appendix.
DIT_VARIANTS = {
    "S": Size(12, 384, 6),
    "B": Size(12, 768, 12),
    "L": Size(24, 1024, 16),
    "XL": Size(28, 1152, 16),
}
# PixArt-α, DAM and the video networks take DiT's sizes; PixArt-α is published as XL, DAM as S and B.
VARIANTS = {
    "ptdit": PTDIT_VARIANTS,
    "dit": DIT_VARIANTS,
    "pixart": DIT_VARIANTS,
    "dam": DIT_VARIANTS,
    "full3d": DIT_VARIANTS,
    "factorized": DIT_VARIANTS,
}
# Families of one condition and adaLN; the others take any.
CONDITIONS = {"dit": ("class", "zero"), "dam": ("class", "zero"), "pixart": ("text", "single")}
IMAGE_FAMILIES = ("dit", "dam", "pixart")
"""Families whose positions do not tell frames apart."""
POSITIONS = {
    "ptdit": ("grid", "released"),
    "dit": ("grid", "rescaled"),
    "pixart": ("rescaled", "grid"),
    "dam": ("grid", "rescaled"),
    "full3d": ("grid", "released"),
    "factorized": ("grid", "released"),
}
"""`model.positions` of each family; "auto" is the first."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """Everything that decides the parameters and the function of a network; `config.model` with nothing left "auto".

    Fields are those of `configs/common.py`; `shift_every` is 0 where there are no shifted windows,
    `linear_tokens` the tokens n of the window that `injection="linear"` is made for (0 otherwise), and `mediators`
    () where there are none.
    """

    family: str
    depth: int
    width: int
    heads: int
    mlp_ratio: int
    patch: int
    channels: int
    out_channels: int
    sample_size: int
    condition: str
    classes: int
    text_dim: int
    adaln: str
    modulated: tuple[str, ...]
    zero_linears: bool
    shift_every: int
    giim: bool
    tcm: bool
    extraction: str
    injection: str
    linear_tokens: int
    mediators: tuple[int, ...]
    positions: str
    time_input: str
    compute_dtype: str
    remat: str
    attention_chunk: int
    unroll: int
    size_condition: int = 0
    patch_height: int = 0  # 0 = `patch`
    attention: str = EINSUM

    @property
    def attention_options(self) -> dict[str, Any]:
        """How all its attentions are computed, keyword arguments of `attention.Attention`."""
        return {"implementation": self.attention, "chunk": self.attention_chunk}

    @property
    def patches(self) -> tuple[int, int]:
        """Latent pixels a token covers along height and width."""
        return (self.patch_height or self.patch, self.patch)

    @property
    def patch_pixels(self) -> int:
        """Latent pixels a token covers."""
        return math.prod(self.patches)

    @property
    def position_base(self) -> int:
        """Tokens a side of the declared grid, to which 2-D positions are rescaled; 0 = they are not."""
        return self.sample_size // self.patch if self.positions == "rescaled" else 0

    @property
    def group(self) -> int:
        """Blocks a repeating group: the last block of each has the shifted windows."""
        return max(self.shift_every, 1)

    @property
    def groups(self) -> int:
        """Repeats of the group, the length of the scan."""
        return self.depth // self.group


def architecture(
    model: ml_collections.ConfigDict,
    window: tuple[int, int, int],
    *,
    learn_variance: bool = False,
    platform: str | None = None,
) -> Architecture:
    """Resolve `config.model`: variant to numbers, "auto" to what the condition implies.

    Args:
      model: the `model` section of a config.
      window: the window at the size the model is first used with (only injection="linear" depends on it).
      learn_variance: whether the objective reads 2C outputs.
      platform: of the devices, as `jax.Device.platform`, which `model.attention` depends on; None where nothing is run.

    Raises:
      ValueError: naming the field, its value, and what would be right.
    """
    family = _choice("model.family", model.family, VARIANTS)
    size = Size(0, 0, 0)
    if model.variant != "custom":
        names = [*VARIANTS[family], "custom"]
        size = VARIANTS[family][_choice("model.variant", model.variant, names)]
    depth, width, heads = model.depth or size.depth, model.width or size.width, model.heads or size.heads
    for name, value in (("depth", depth), ("width", width), ("heads", heads), ("patch", model.patch)):
        if value < 1:
            raise ValueError(
                f"model.{name}={value} must be at least 1 (a custom variant sets depth, width and heads)"
            )
    if width % heads:
        raise ValueError(f"model.width={width} must be a multiple of model.heads={heads}")
    if width % 16:
        raise ValueError(
            f"model.width={width} must be a multiple of 16 (sine and cosine shares of three axes)"
        )
    condition = _choice("model.condition", model.condition, ("class", "text", "none"))
    adaln = _choice("model.adaln", model.adaln, ("auto", "single", "zero"))
    adaln = adaln if adaln != "auto" else ("single" if condition == "text" else "zero")
    zero = _choice("model.zero_linears", model.zero_linears, ("auto", "yes", "no"))
    shift_every = model.shift_every or (1 if adaln == "single" else 2)
    shift_every = 0 if shift_every < 0 or not model.tcm or family != "ptdit" else shift_every
    if shift_every and depth % shift_every:
        raise ValueError(
            f"model.shift_every={shift_every} must divide the depth {depth}, or be -1 for no shifts"
        )
    for part in model.modulated:
        _choice("model.modulated", part, ("proxy", "injection", "injection_kv", "window", "shift", "mlp"))
    injection = _choice("model.injection", model.injection, ("cross_attention", "interpolate", "linear"))
    if CONDITIONS.get(family, (condition, adaln)) != (condition, adaln):
        wanted = "model.condition={!r} with model.adaln={!r}".format(*CONDITIONS[family])
        raise ValueError(
            f"model.family={family!r} takes {wanted}, not condition={condition!r} with adaln={adaln!r}"
        )
    mediators = tuple(model.mediators)
    if len(mediators) != 3 or any(not isinstance(count, int) or count < 1 for count in mediators):
        raise ValueError(
            f"model.mediators={mediators} must be three integers of at least 1 (frames, rows, columns)"
        )
    time_input = _choice("model.time_input", model.time_input, ("1000t", "1-t", "1000t_diffusers"))
    if time_input != "1000t" and family not in ("dit", "dam"):
        whose = "SiT's" if time_input == "1-t" else "DiT's"
        raise ValueError(
            f"model.time_input={time_input!r} is {whose}, for model.family='dit' or 'dam'; {family!r} takes '1000t'"
        )
    if model.size_condition and (family != "pixart" or width % 3):
        raise ValueError(
            f"model.size_condition={model.size_condition} is for model.family='pixart' of a width that 3 divides, not "
            f"{family!r} of width {width}; use 0"
        )
    positions = resolve_positions(family, model.positions, model.sample_size // model.patch)
    if model.patch_height not in (0, model.patch) and positions == "rescaled":
        raise ValueError(
            f"model.patch_height={model.patch_height} is not model.patch={model.patch}, which needs "
            f"model.positions='grid' with model.family={family!r}: others are rescaled to a square"
        )
    if model.unroll < 0 or (model.unroll and (depth // max(shift_every, 1)) % model.unroll):
        raise ValueError(
            f"model.unroll={model.unroll} must divide the {depth // max(shift_every, 1)} groups of blocks, or be 0"
        )
    return Architecture(
        family=family,
        depth=depth,
        width=width,
        heads=heads,
        mlp_ratio=model.mlp_ratio,
        patch=model.patch,
        channels=model.channels,
        out_channels=model.out_channels or model.channels * (2 if learn_variance else 1),
        sample_size=model.sample_size,
        condition=condition,
        classes=model.classes,
        text_dim=model.text_dim,
        adaln=adaln,
        modulated=tuple(model.modulated),
        zero_linears=family == "ptdit" and (zero == "yes" or (zero == "auto" and adaln == "single")),
        shift_every=shift_every,
        giim=bool(model.giim) and family == "ptdit",
        tcm=bool(model.tcm),
        extraction=_choice(
            "model.extraction", model.extraction, ("average", "top_left", "random", "similarity")
        ),
        injection=injection,
        linear_tokens=math.prod(window) if injection == "linear" else 0,
        mediators=mediators if family == "dam" else (),
        positions=positions,
        time_input=time_input,
        compute_dtype=_choice("model.compute_dtype", model.compute_dtype, ("float32", "bfloat16")),
        remat=_choice("model.remat", model.remat, ("none", "block", "attention", "dots", "offload")),
        attention_chunk=model.attention_chunk,
        unroll=model.unroll,
        size_condition=model.size_condition,
        patch_height=0 if model.patch_height == model.patch else model.patch_height,
        attention=resolve(
            model.attention, head_width=width // heads, dtype=model.compute_dtype, platform=platform
        ),
    )


def resolve_positions(family: str, positions: str, base: int = 1) -> str:
    """`model.positions` without "auto".

    Args:
      family: `model.family`.
      positions: `model.positions`.
      base: tokens a side of the declared grid.

    Raises:
      ValueError: the family does not have them, or there is no such grid.
    """
    if positions not in ("auto", *POSITIONS[family]):
        raise ValueError(
            f"model.positions={positions!r} is unknown with model.family={family!r}; it is one of 'auto', "
            f"{', '.join(map(repr, POSITIONS[family]))}"
        )
    positions = POSITIONS[family][0] if positions == "auto" else positions
    if positions == "rescaled" and base < 1:
        raise ValueError(
            "model.sample_size must be at least model.patch: positions are rescaled to that grid"
        )
    return positions


def _choice(field: str, value, allowed) -> str:
    if value not in allowed:
        raise ValueError(f"{field}={value!r} is unknown; it is one of {', '.join(repr(a) for a in allowed)}")
    return value
