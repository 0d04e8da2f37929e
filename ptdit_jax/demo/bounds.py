"""What a visitor of the page may ask for, so that nobody exhausts the machine."""

import dataclasses
from typing import Any

from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.experiment import decoding
from ptdit_jax.sample import prompts, sizes

LETTERS = 1000  # of a prompt
GUIDANCE = 20.0
AS_TRAINED = "as trained"
SCALES = (1.0, 0.5, 1.5, 2.0)
SHAPES = ((1, 1), (3, 4), (4, 3), (9, 16), (16, 9))
"""Rows to columns of the sizes that are offered; any other may be typed."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The largest that is allowed.

    Attributes:
      count: samples at once.
      steps: of the sampler.
      pixels: of a frame, rows times columns.
      waiting: visitors in the queue.
    """

    count: int
    steps: int
    pixels: int
    waiting: int


@dataclasses.dataclass(frozen=True)
class Asked:
    """What one visitor asks for; a number of a page is checked like any other.

    Attributes:
      prompt: of a model with text.
      negative: what guidance leads away from; "" is the empty caption.
      label: of a model of classes.
      seed: of the noise.
      guidance: 1 = none.
      steps: of the sampler.
      count: samples.
      size: HEIGHTxWIDTH in pixels.
      ratio: compression ratio (p_f,p_h,p_w) in tokens, or `AS_TRAINED`.
    """

    prompt: str
    negative: str
    label: int
    seed: int
    guidance: float
    steps: int
    count: int
    size: str
    ratio: str


def check(asked: Asked, config: Any, bounds: Bounds) -> None:
    """Refuse what goes beyond the bounds, or what the model does not take.

    Raises:
      ValueError: a line that names what is wrong.
    """
    for name, text in (("the prompt", asked.prompt), ("what to avoid", asked.negative)):
        if len(text) > LETTERS:
            raise ValueError(f"{name} has {len(text):,} letters, and may have {LETTERS:,}")
    for name, value, least, most in (
        ("samples", asked.count, 1, bounds.count),
        ("steps", asked.steps, 1, bounds.steps),
        ("seed", asked.seed, 0, prompts.LARGEST - 1),
        ("class", asked.label, 0, config.model.classes - 1 if config.model.condition == "class" else 0),
    ):
        if not least <= value <= most or value != int(value):
            raise ValueError(f"{name}: {value} must be a whole number in [{least}, {most}]")
    cli.check_finite(asked.guidance, "guidance")
    if not 0 <= asked.guidance <= GUIDANCE:
        raise ValueError(f"guidance: {asked.guidance:g} must be in [0, {GUIDANCE:g}]")
    if config.model.condition == "text" and not asked.prompt.strip():
        raise ValueError("the prompt is empty: say what to draw")
    if asked.ratio not in ratios(config):
        raise ValueError(f"compression ratio: {asked.ratio} must be one of {'; '.join(ratios(config))}")
    check_size(asked.size, config, bounds)


def check_size(text: str, config: Any, bounds: Bounds) -> None:
    """Refuse a size that is none, or that is too large.

    Raises:
      ValueError: so it is.
    """
    size = sizes.latent_size(config, text, None)
    _, rows, columns = decoding.factor_of(config)
    pixels = size["height"] * rows * size["width"] * columns
    if pixels > bounds.pixels:
        raise ValueError(f"size: {text} has {pixels:,} pixels, and may have {bounds.pixels:,}")


def trained_size(config: Any) -> tuple[int, int]:
    """Rows and columns of pixels that the model was trained with."""
    _, rows, columns = decoding.factor_of(config)
    return config.data.height * rows, config.data.width * columns


def size_choices(config: Any, bounds: Bounds) -> list[str]:
    """Sizes to choose from, that of training first: other scales and other shapes, as far as the bounds allow."""
    height, width = trained_size(config)
    _, rows, columns = decoding.factor_of(config)
    model = config.model
    tall_step, wide_step = rows * (model.patch_height or model.patch), columns * model.patch
    is_row = height <= tall_step  # a signal, which stays one row
    found = [(height, width)]
    for scale in SCALES:
        for tall, wide in ((1, 1),) if is_row else SHAPES:
            stretch = (tall / wide) ** 0.5
            rows_of, columns_of = height if is_row else height * scale * stretch, width * scale / stretch
            fitted = (
                max(round(rows_of / tall_step), 1) * tall_step,
                max(round(columns_of / wide_step), 1) * wide_step,
            )
            if fitted not in found and fitted[0] * fitted[1] <= bounds.pixels:
                found.append(fitted)
    return [f"{tall}x{wide}" for tall, wide in found]


def ratios(config: Any) -> list[str]:
    """Compression ratios to choose from: that of training, and squares of tokens with the same number of frames."""
    if config.model.family != "ptdit":
        return [AS_TRAINED]
    (frames, rows, columns), tokens = rules.layout(config)
    found = [AS_TRAINED]
    for side in (1, 2, 4, 8, 16):
        ratio = (frames, side if rows > 1 else 1, side)
        if side * 2 <= max(tokens.grid[1:]) and ratio != (frames, rows, columns):
            found.append(",".join(map(str, ratio)))
    return found
