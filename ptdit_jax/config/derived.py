"""What follows from a config: its window and layout, its network, its objective."""

from typing import Any

from ptdit_jax import diffusion, models
from ptdit_jax.diffusion.samplers import Sampler, make_sampler
from ptdit_jax.models.compression import window_for
from ptdit_jax.models.window import Triple, Windowing, windowing

Config = Any
"""A `ConfigDict`, whose type stubs give every field every type at once."""


def layout(config: Config, *, frames: int = 0, height: int = 0, width: int = 0) -> tuple[Triple, Windowing]:
    """The window and the token layout of samples of `config.data`, or of another size.

    Args:
      config: the whole config.
      frames: latent frames; 0 = those of `config.data`, here and below.
      height: latent rows.
      width: latent columns.

    Returns:
      The window (p_f, p_h, p_w) to call the model with, and its layout of the token grid.

    Raises:
      ValueError: the patch does not divide the size, or no window is possible.
    """
    data, model = config.data, config.model
    patches = {"height": model.patch_height or model.patch, "width": model.patch}
    frames, height, width = frames or data.frames, height or data.height, width or data.width
    for field, value in (("height", height), ("width", width)):
        patch = patches[field]
        if value < 1 or patch < 1 or value % patch:
            name = "patch_height" if field == "height" and model.patch_height else "patch"
            raise ValueError(f"data.{field}={value} must be a positive multiple of model.{name}={patch}")
    asked = window(config, frames=frames, height=height, width=width)
    if any(type(c) is not int or c < 1 for c in asked) or len(asked) != 3:
        raise ValueError(f"compression: window {asked} must be three positive integers (p_f, p_h, p_w)")
    proxy = config.compression.proxy
    if proxy and len(proxy) == 3 and any(c % p for c, p in zip(asked[1:], proxy[1:], strict=True)):
        raise ValueError(f"compression.proxy={proxy} must divide the window {asked} in its last two numbers")
    tokens = windowing((frames, height // patches["height"], width // patches["width"]), asked, proxy)
    return tokens.window, tokens


def window(config: Config, *, frames: int = 0, height: int = 0, width: int = 0) -> Triple:
    """The window (p_f, p_h, p_w) that a config asks for, before a small grid of tokens clips it; see `layout`."""
    data = config.data
    scale = data.pixels_per_latent
    height, width = height or data.height, width or data.width
    return window_for(config.compression, frames or data.frames, height * scale, width * scale)


def architecture(config: Config, *, platform: str | None = None) -> models.Architecture:
    """The network of a config, for samples of `config.data`: its fields with nothing left "auto".

    Args:
      config: the whole config.
      platform: see `models.architecture`.

    Raises:
      ValueError: naming the field, its value, and what would be right.
    """
    clipped, _ = layout(config)
    learn_variance = config.diffusion.learn_variance
    return models.architecture(config.model, clipped, learn_variance=learn_variance, platform=platform)


def make_objective(
    config: Config, *, frames: int = 0, height: int = 0, width: int = 0, pixel_frames: int = 0
):
    """The diffusion objective of a config for samples of `config.data`, or of another latent size.

    `pixel_frames` are those of the decoded sample; 0 = `frames`, or those of `config.data`.

    Raises:
      ValueError: for an impossible `config.diffusion`.
    """
    data = config.data
    return diffusion.make(
        **config.diffusion.to_dict(),
        height_px=(height or data.height) * data.pixels_per_latent,
        width_px=(width or data.width) * data.pixels_per_latent,
        latent_frames=frames or data.frames,
        pixel_frames=pixel_frames or frames or data.pixel_frames or data.frames,
    )


def make_sampling(objective: diffusion.Objective, sampling: Config) -> Sampler:
    """The sampler of the `sampling` section of a config.

    Raises:
      ValueError: the objective, the sampler and its other fields do not go together.
    """
    names = ("steps", "time_grid", "sde_last_step", "sde_last_step_size")
    return make_sampler(objective, sampling.sampler, **{name: sampling[name] for name in names})


def profiled_steps(config: Config) -> range:
    """The steps of `config.profile.steps`; empty for "".

    Raises:
      ValueError: it is something else than "FIRST:LAST".
    """
    text = config.profile.steps
    first, _, last = text.partition(":")
    if text and not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise ValueError(
            f"profile.steps={text!r} must be FIRST:LAST, such as 10:13, with 1 <= FIRST <= LAST, or ''"
        )
    return range(int(first), int(last) + 1) if text else range(0)
