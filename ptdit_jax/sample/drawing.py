"""Groups of samples: text encoded a chunk at a time, the network, the autoencoder, files as soon as they are made.

Shapes: B samples of a group, L text tokens, E text features, C channels, F frames, H rows, W columns.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_dtypes
import numpy as np
from jax.sharding import Mesh

from data_pipelines import captions
from data_pipelines.text import pad_all
from ptdit_jax.encoders.autoencoder import Autoencoder
from ptdit_jax.encoders.pixels import to_uint8
from ptdit_jax.encoders.text import TextEncoder, open_text_encoder
from ptdit_jax.experiment import live_text, results
from ptdit_jax.experiment.generate import Text, Wanted, batches
from ptdit_jax.experiment.sampling_steps import Steps
from ptdit_jax.parallel.axes import RULES
from ptdit_jax.sample.folder import Plan, Unit

CHUNK = 512  # prompts at least whose states are in memory at once
States = Mapping[int, list[np.ndarray]]
"""Group -> the states (l, E) of its different prompts, in order, and last those of the negative one if there is one."""


def chunks(plan: Plan, groups: Sequence[int]) -> Iterator[list[int]]:
    """Groups, so many together that they have about `CHUNK` prompts."""
    per_group = max(1, plan.batch // plan.count) if plan.prompts else CHUNK
    yield from (list(part) for part in itertools.batched(groups, max(1, CHUNK // per_group)))


def states_of(
    config: Any, plan: Plan, prompts: Sequence[str], negative: str | None, groups: Sequence[int], mesh: Mesh
) -> States:
    """Encode the prompts of some groups; the encoder is read for that and freed after it.

    Each group is encoded by itself, so that its states do not depend on what else is to be made.
    """
    encoder = None
    if config.text_encoder.path:
        options = {"length": config.model.text_length, "progress": live_text.watched}
        encoder = open_text_encoder(config.text_encoder, mesh=mesh if mesh.size > 1 else None, **options)
    more = [] if negative is None else [negative]
    return {
        group: encode(config, encoder, [*(prompts[label] for label in labels_of(plan, group)), *more])
        for group in groups
    }


def encode(config: Any, encoder: TextEncoder | None, prompts: list[str]) -> list[np.ndarray]:
    """The states (l, E) float32 of some prompts, as the model was trained with them.

    Raises:
      ValueError: the encoder has other features than the model takes.
    """
    if encoder is None:
        return [captions.encode(prompt) for prompt in prompts]
    if encoder.dim != config.model.text_dim:
        raise ValueError(
            f"text_encoder.path={config.text_encoder.path} has {encoder.dim} features; the model takes "
            f"{config.model.text_dim}"
        )
    dtype = np.float32 if live_text.is_live(config) else ml_dtypes.bfloat16
    return [part.astype(np.float32) for part in encoder.states(prompts, dtype=dtype)]


def labels_of(plan: Plan, group: int) -> list[int]:
    """The different labels of a group, in order."""
    return list(dict.fromkeys(unit.label for unit in plan.group(group)))


def draw(
    steps: Steps,
    params: Any,
    config: Any,
    plan: Plan,
    group: int,
    states: list[np.ndarray] | None,
    negative: bool,
    autoencoder: Autoencoder | None,
    seed: int,
) -> list[tuple[Unit, np.ndarray]]:
    """All samples of a group, (F, H, W, C) uint8 each.

    Args:
      steps: the compiled programs.
      params: the network's parameters.
      config: the whole config.
      plan: of all samples.
      group: its number.
      states: of its prompts, see `States`; None without text.
      negative: whether the last of the states is what guidance leads away from.
      autoencoder: that decodes; None where samples are pixels.
      seed: of the noise.

    Raises:
      NotFinite: a sample is not finite.
    """
    units = plan.group(group)
    labels = np.array([unit.label for unit in units], np.int32)
    turns = np.array([unit.turn for unit in units], np.uint32)
    text, against, rows = None, None, None
    if states is not None:
        text, mask = _padded(config, states[:-1] if negative else states)
        place = {label: row for row, label in enumerate(labels_of(plan, group))}
        rows = np.array([place[unit.label] for unit in units])
        if negative:
            other = _padded(config, states[-1:])
            against = tuple(np.repeat(array, len(text), axis=0) for array in other)
        text = text, mask
    wanted = Wanted(labels, text=text, negative=against, captions=rows, turns=turns)
    made = [part for _, part in batches(steps, params, wanted, seed=seed, description=None)]
    return list(zip(units, pixels(np.concatenate(made), autoencoder), strict=True))


def _padded(config: Any, states: list[np.ndarray]) -> Text:
    truncate = config.data.truncate_text
    return pad_all(states, config.model.text_length, truncate=truncate, name="prompt")


def pixels(latents: np.ndarray, autoencoder: Autoencoder | None) -> list[np.ndarray]:
    """Samples (B, C, F, H, W) as films (F, H, W, C) uint8, decoded as many at once as there are devices."""
    if autoencoder is None:
        return list(to_uint8(np.moveaxis(latents, 1, -1)))
    mesh, films = autoencoder.mesh, []
    together = 1 if mesh is None else int(np.prod([mesh.shape.get(axis, 1) for axis in RULES["batch"]]))
    for first in range(0, len(latents), together):
        decoded = np.asarray(jax.device_get(autoencoder.decode(latents[first : first + together])))
        films += list(to_uint8(np.moveaxis(decoded, 1, -1)))
    return films


def check_autoencoder(config: Any, autoencoder: Autoencoder) -> None:
    """Refuse an autoencoder that does not go with the model.

    Raises:
      ValueError: it does not.
    """
    found = (autoencoder.channels, autoencoder.factor[1])
    wanted = (config.model.channels, config.data.pixels_per_latent)
    if found != wanted:
        raise ValueError(
            f"autoencoder.path={config.autoencoder.path} has latents of {found[0]} channels and {found[1]} pixels; the "
            f"model's have {wanted[0]} and {wanted[1]}"
        )


def needs_autoencoder(config: Any) -> bool:
    """Whether samples are latents.

    Raises:
      ValueError: they are, and the config names no autoencoder.
    """
    if results.is_visible(config):
        return False
    if config.autoencoder.path in ("", "pixels"):
        raise ValueError(
            f"the model makes latents of {config.model.channels} channels, and its config has no autoencoder.path: "
            "give the folder of its autoencoder with --vae"
        )
    return True
