"""The parts of `benchmarks.accelerator`: which there are, and in which order.

Shapes: B samples a step, N tokens of a sample.
"""

import contextlib
import dataclasses
import fnmatch
import functools
import itertools
from typing import Any

from benchmarks import light_build
from configs import common, t2i_xl_256
from ptdit_jax import models
from ptdit_jax.models.attention import choice

TRAIN, FORWARD = PASSES = ("train", "forward")
OURS = "ptdit"
CHUNK = 2048  # queries whose scores einsum keeps at once, as the recipes of XL have it


@dataclasses.dataclass(frozen=True)
class Size:
    """A published size of PT-DiT and the baseline that it is compared with.

    Attributes:
      variant: of PT-DiT; the baseline's has the same letter.
      baseline: `model.family` at pictures; films have "full3d", its block with positions in time.
      text: whether the condition is text, as in the recipes of XL, or a class.
      tokens: B·N that a step starts with, before B is halved until it fits.
    """

    variant: str
    baseline: str
    text: bool
    tokens: int


@dataclasses.dataclass(frozen=True)
class Shape:
    """A size of samples: pixels a side, and latent frames; 5 are what the released CausalVAE makes of 17."""

    px: int
    frames: int = 1


SIZES = {
    "xl": Size("XL", "pixart", True, 2**15),
    "s-class": Size("S-Class", "dit", False, 2**17),
    "b-class": Size("B-Class", "dit", False, 2**16),
}
SHAPES = {
    "1024px": Shape(1024),
    "2048px": Shape(2048),
    "512px": Shape(512),
    "256px-17f": Shape(256, 5),
    "256px": Shape(256),
}
SMALL_SHAPES = {"64px": Shape(64), "64px-17f": Shape(64, 5)}
SMALL_PLACES = (("xl", "64px"), ("s-class", "64px-17f"))
SMALL_TOKENS = 2**6
SMALL_MODEL = {"variant": "custom", "depth": 2, "width": 32, "heads": 4, "classes": 10}
SMALL_TEXT = {"text_dim": 16, "text_length": 8}


@dataclasses.dataclass(frozen=True)
class Part:
    """One figure: a network at a size of samples, its training step or its forward pass, with one attention."""

    size: str
    shape: str
    passed: str  # one of `PASSES`
    family: str
    attention: str
    small: bool = False

    @property
    def name(self) -> str:
        """As in `--only` and in the file of rows."""
        words = (self.size, self.shape, self.passed, self.family, self.attention)
        return "-".join((*words, *["small"] * self.small))

    @property
    def pair(self) -> tuple[str, str, str]:
        """What a part and its baseline have in common."""
        return self.size, self.shape, self.passed


def parts(platform: str, small: bool = False) -> list[Part]:
    """All parts that a platform allows, the most important first.

    XL at 1024 pixels comes first, with every attention; then the other sizes with the attention that "auto" chooses,
    training before the forward pass; then all other attentions.  Baselines have the chosen one alone.

    Args:
      platform: as `jax.Device.platform`.
      small: networks and samples for a CPU.
    """
    shapes = SMALL_SHAPES if small else SHAPES
    allowed = {size: attentions(size, platform, small) for size in SIZES}

    def best(size: str, shape: str, passed: str) -> list[Part]:
        baseline = "full3d" if shapes[shape].frames > 1 else SIZES[size].baseline
        return [Part(size, shape, passed, family, allowed[size][0], small) for family in (OURS, baseline)]

    def rest(size: str, shape: str) -> list[Part]:
        others = itertools.product(PASSES, allowed[size][1:])
        return [Part(size, shape, passed, OURS, attention, small) for passed, attention in others]

    first, *elsewhere = SMALL_PLACES if small else itertools.product(SIZES, shapes)
    found = [part for passed in PASSES for part in best(*first, passed)] + rest(*first)
    found += [part for passed in PASSES for place in elsewhere for part in best(*place, passed)]
    return found + [part for place in elsewhere for part in rest(*place)]


def attentions(size: str, platform: str, small: bool = False) -> list[str]:
    """The values of `model.attention` that PT-DiT of a size may have on a platform, that of "auto" first."""
    model = _config(size, OURS, Shape(64), small).model
    arch = models.architecture(model, (1, 1, 1))
    how = {"head_width": arch.width // arch.heads, "dtype": arch.compute_dtype, "platform": platform}
    found = [choice.resolve("auto", **how)]
    for name in choice.IMPLEMENTATIONS:
        with contextlib.suppress(ValueError):  # the platform or the heads do not go with it
            found.append(choice.resolve(name, **how))
    return list(dict.fromkeys(found))


def matching(found: list[Part], pattern: str) -> list[Part]:
    """The parts whose names a shell pattern matches, such as "xl-1024px-*".

    Raises:
      ValueError: there is none.
    """
    fitting = [part for part in found if fnmatch.fnmatchcase(part.name, pattern)]
    if not fitting:
        raise ValueError(f"--only={pattern} matches none of the {len(found)} parts, which --list shows")
    return fitting


def config_of(part: Part) -> Any:
    """The config of a part, its batch left open; a baseline has the depth that brings PT-DiT's parameters nearest."""
    shape = (SMALL_SHAPES if part.small else SHAPES)[part.shape]
    config = _config(part.size, part.family, shape, part.small)
    if part.family != OURS:
        config.model.depth = _matched_depth(part.size, part.family, part.small)
    config.model.attention = part.attention
    return config


@functools.cache
def _matched_depth(size: str, family: str, small: bool) -> int:
    ours = light_build.build(_config(size, OURS, Shape(64), small)).parameters
    return light_build.matched_depth(_config(size, family, Shape(64), small), ours)


def _config(size: str, family: str, shape: Shape, small: bool) -> Any:
    each = SIZES[size]
    config = t2i_xl_256.get_config() if each.text else common.get_config()
    model, data = config.model, config.data
    model.family = family
    model.variant = each.variant if family == OURS else each.variant.removesuffix("-Class")
    model.compute_dtype = "bfloat16"
    model.attention_chunk = CHUNK
    data.height = data.width = shape.px // data.pixels_per_latent
    data.frames = shape.frames
    if small:
        model.update(SMALL_MODEL | (SMALL_TEXT if each.text else {}))
    return config
