"""What config.json says of the network and of sampling: every field that is read, checked."""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modeling_ptdit import PARTS, Architecture, Triple
from samplers import CHAIN, SAMPLERS

Rule = tuple[str, Callable[[Any], bool]]  # what a value must be, and whether it is
PREDICTIONS = {"flow": ("velocity",), "vp": ("eps", "x0", "v")}


def whole(low: int) -> Rule:
    """An integer from `low` on."""
    return f"an integer of at least {low}", lambda v: type(v) is int and v >= low


def real(low: float, high: float) -> Rule:
    """A finite number in [low, high]."""
    limits = "" if high == math.inf else f" in [{low:g}, {high:g}]"
    return f"a finite number{limits}", lambda v: _is_real(v) and low <= v <= high


def one_of(*names: str) -> Rule:
    """One of some names."""
    return f"one of {', '.join(names)}", lambda v: isinstance(v, str) and v in names


def _is_real(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_triple(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(v) is int and v >= 1 for v in value)


FLAG: Rule = ("true or false", lambda v: type(v) is bool)
TRIPLE: Rule = ("three integers of at least 1", _is_triple)
TRIPLE_OR_NONE: Rule = ("three integers of at least 1, or empty", lambda v: v == [] or _is_triple(v))
BY_TYPE: dict[Any, Rule] = {int: whole(1), bool: FLAG, str: ("a name", lambda v: isinstance(v, str))}
ARCHITECTURE: dict[str, Rule] = {
    **{
        field.name: BY_TYPE.get(field.type, ("", lambda v: True))
        for field in dataclasses.fields(Architecture)
    },
    **{name: whole(0) for name in ("classes", "text_dim", "shift_every", "linear_tokens")},
    "condition": one_of("class", "text", "none"),
    "adaln": one_of("single", "zero"),
    "modulated": (
        f"a list of {', '.join(PARTS)}",
        lambda v: isinstance(v, list) and all(isinstance(part, str) and part in PARTS for part in v),
    ),
    "extraction": one_of("average", "top_left", "random", "similarity"),
    "injection": one_of("cross_attention", "interpolate", "linear"),
    "positions": one_of("grid", "released"),
}
CONFIG: dict[str, dict[str, Rule]] = {
    "data": {
        **dict.fromkeys(("frames", "height", "width", "pixels_per_latent"), whole(1)),
        "pixel_frames": whole(0),
        "text": one_of("stored", "live"),
    },
    "model": {"text_length": whole(1), "null_mask": one_of("own", "caption")},
    "text_encoder": {
        "path": ("a path", lambda v: isinstance(v, str)),
        "clean": one_of("none", "strip", "release", "pixart"),
        "dtype": one_of("float32", "bfloat16"),
    },
    "autoencoder": {
        "tile": one_of("auto", "yes", "no"),
        "tile_size": whole(0),
        "tile_frames": whole(0),
    },
    "compression": {"fixed": TRIPLE_OR_NONE, "proxy": TRIPLE_OR_NONE, "video_frames": whole(1)},
    "diffusion": {
        "path": one_of(*SAMPLERS),
        "prediction": one_of(*(name for names in PREDICTIONS.values() for name in names)),
        "learn_variance": FLAG,
        "shift": one_of("none", "latent_frames", "released"),
        "shift_scale": real(0, math.inf),
    },
    "sampling": {
        "sampler": one_of(*(name for names in SAMPLERS.values() for name in names)),
        "steps": whole(1),
        "time_grid": ("a name", lambda v: isinstance(v, str)),  # which those of `grids` are, it says itself
        "sde_last_step": one_of("euler", "mean", "tweedie", "none"),
        "sde_last_step_size": real(0, 1),
        "guidance": real(-math.inf, math.inf),
        "guidance_channels": whole(0),
        "guidance_interval": (
            "two numbers, 0 <= low <= high <= 1",
            lambda v: (
                isinstance(v, list) and len(v) == 2 and all(map(_is_real, v)) and 0 <= v[0] <= v[1] <= 1
            ),
        ),
    },
}
"""Every field that is read, by section."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """A folder's config.json, checked.

    Attributes:
      arch: the network.
      data: section of the config, as are the next six.
      model: text.
      text_encoder: of the captions that it was trained with.
      autoencoder: of its latents.
      compression: windows.
      diffusion: what the network was trained for.
      sampling: what is not given on the command line.
    """

    arch: Architecture
    data: dict[str, Any]
    model: dict[str, Any]
    text_encoder: dict[str, Any]
    autoencoder: dict[str, Any]
    compression: dict[str, Any]
    diffusion: dict[str, Any]
    sampling: dict[str, Any]

    @property
    def samplers(self) -> tuple[str, ...]:
        """Those of the path that the network was trained on."""
        return SAMPLERS[self.diffusion["path"]]

    @property
    def most_steps(self) -> int:
        """Steps at most: those of the chain, and for flows what a table of rows is small for."""
        return CHAIN if self.diffusion["path"] == "vp" else 100_000

    @property
    def proxy_ratio(self) -> tuple[int, ...] | None:
        """(., p_h, p_w) for several proxies a window; None for one."""
        return tuple(self.compression["proxy"]) or None

    def window(self, frames: int, height: int, width: int) -> Triple:
        """(p_f, p_h, p_w) tokens of a latent size."""
        return window_for(self.compression, frames, *self.pixels(height, width))

    def pixels(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in pixels of a latent size."""
        return height * self.data["pixels_per_latent"], width * self.data["pixels_per_latent"]


def read(folder: Path) -> Settings:
    """The config.json of a folder.

    Raises:
      FileNotFoundError: there is none.
      ValueError: naming the field that is wrong.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: there is no such file; --folder names what `convert to-torch` wrote"
        )
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {str(error).splitlines()[0]}") from error
    facts = _section(file, content, "architecture", ARCHITECTURE)
    if unknown := [name for name in content["architecture"] if name not in ARCHITECTURE]:
        raise ValueError(f"{file}: architecture.{unknown[0]} is no field of the network in modeling_ptdit.py")
    config = _section(file, content, "config", {})
    sections = {name: _section(file, config, name, rules, "config.") for name, rules in CONFIG.items()}
    facts = {**facts, "modulated": tuple(facts["modulated"])}  # as the dataclass has it
    settings = Settings(Architecture(**facts), **sections)
    for problem in _problems(settings):
        raise ValueError(f"{file}: {problem}")
    return settings


def _section(
    file: Path, content: Any, name: str, rules: Mapping[str, Rule], above: str = ""
) -> dict[str, Any]:
    """A dict of the file, whose fields keep their rules."""
    section = content.get(name) if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise ValueError(f"{file} has no section {above}{name}")
    for field, (rule, holds) in rules.items():
        if field not in section:
            raise ValueError(f"{file} has no {above}{name}.{field}")
        if not holds(section[field]):
            value = json.dumps(section[field])[:80]
            raise ValueError(f"{file}: {above}{name}.{field} is {value}; it must be {rule}")
    return section


def _problems(settings: Settings):
    """What is wrong between fields, a line each."""
    arch, path = settings.arch, settings.diffusion["path"]
    if arch.width % 16 or arch.width % arch.heads:
        yield f"architecture.width {arch.width} must be a multiple of 16 and of architecture.heads {arch.heads}"
    if settings.sampling["sampler"] not in settings.samplers:
        yield f"config.sampling.sampler must be one of {', '.join(settings.samplers)} with diffusion.path {path!r}"
    if settings.sampling["steps"] > settings.most_steps:
        yield f"config.sampling.steps must be at most {settings.most_steps}"
    if settings.diffusion["prediction"] not in PREDICTIONS[path]:
        yield f"config.diffusion.prediction must be {' or '.join(PREDICTIONS[path])} with diffusion.path {path!r}"
    needed = arch.channels * (2 if settings.diffusion["learn_variance"] else 1)
    if arch.out_channels < needed:
        yield f"architecture.out_channels {arch.out_channels} must be at least {needed}"
    if settings.sampling["guidance_channels"] > arch.channels:
        yield f"config.sampling.guidance_channels must be at most {arch.channels}, the channels of the samples"
    if arch.condition == "class" and not arch.classes:
        yield "architecture.classes must be at least 1 with condition 'class'"
    if not settings.compression["fixed"]:
        table = {
            name: value for name, value in settings.compression.items() if re.fullmatch(r"px[1-9]\d*", name)
        }
        if not table or not all(map(_is_triple, table.values())):
            yield "config.compression has no windows: pxSIDE must be three integers of at least 1"


def window_for(compression: dict[str, Any], frames: int, height_px: int, width_px: int) -> Triple:
    """The window of a size: the fixed one, or that of the nearest resolution (in log) of the table."""
    if compression["fixed"]:
        return tuple(compression["fixed"])
    table = {int(name[2:]): value for name, value in compression.items() if name.startswith("px")}
    side = math.sqrt(height_px * width_px)
    _, ratio_h, ratio_w = table[min(table, key=lambda row: abs(math.log(row / side)))]
    return (1 if frames == 1 else compression["video_frames"], ratio_h, ratio_w)


def shift_ratio(
    diffusion: dict[str, Any], data: dict[str, Any], frames: int, height_px: int, width_px: int
) -> float:
    """r of the resolution shift of flow times, r·u / (1 + (r-1)·u): √(H·W / 512²)·√T·scale, or 1."""
    if diffusion["shift"] == "none":
        return 1.0
    duration = frames
    if diffusion["shift"] == "released":
        pixel_frames = data["pixel_frames"] if frames == data["frames"] and data["pixel_frames"] else frames
        duration = 1 if pixel_frames == 1 else pixel_frames // 17 * 5
    return math.sqrt(height_px * width_px / 512**2) * math.sqrt(duration) * diffusion["shift_scale"]
