"""Latents to pictures, by the autoencoder of a run's config, in the memory of a few pictures at a time.

Shapes: N samples, C latent channels, F frames, H rows, W columns of pixels, primed ones of latents.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from ptdit_jax.encoders import autoencoder, autoencoder_files, causal_vae
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.weight_files import json_files

PIXELS = 2**20  # that a device decodes at once, where one sample does not have more

Factor = tuple[int, int, int]
"""Pixels a latent along time, rows and columns; time of a film is 1 + a multiple."""


def is_visible(config: Any) -> bool:
    """Whether the samples of a config are pixels, grey or RGB; others are latents."""
    return config.data.pixels_per_latent == 1 and config.model.channels in (1, 3)


def is_drawn(config: Any) -> bool:
    """Whether samples of a config can be drawn: they are pixels, or the config names an autoencoder."""
    return is_visible(config) or config.autoencoder.path not in ("", autoencoder.PIXELS)


def factor_of(config: Any) -> Factor:
    """Pixels a latent of a config; of its autoencoder's `config.json` alone, or what `data` says without one.

    Raises:
      ValueError: the autoencoder is of no kind that is supported, or its factor is not `data.pixels_per_latent`.
    """
    data, path = config.data, config.autoencoder.path
    side = data.pixels_per_latent
    if is_visible(config) or path == autoencoder.PIXELS:
        return 1, side, side
    if not path:
        more = data.pixel_frames - 1
        times, rest = divmod(more, data.frames - 1) if more > 0 and data.frames > 1 else (1, 0)
        return times if times and not rest else 1, side, side
    file, _ = autoencoder_files.find(Path(path).expanduser())
    arch = autoencoder_files.architecture(json_files.read(file, "config of an autoencoder"), str(file))
    factor = getattr(arch, "factor", causal_vae.FACTOR)
    if set(factor[1:]) != {side}:
        raise ValueError(
            f"data.pixels_per_latent={side} of the run is not {factor[1]}, as autoencoder.path={path} has"
        )
    return factor


class Decoder:
    """Latents to pictures.

    Attributes:
      factor: see `factor_of`.
      channels: of the pictures.
    """

    def __init__(self, config: Any, mesh: Mesh | None = None, *, views: bool = False):
        """Load the autoencoder of a config; nothing where the samples are pixels.

        Args:
          config: the whole config, for which `is_drawn`.
          mesh: devices that share samples; None for all of this process.
          views: frames are pictures by themselves, and no film.

        Raises:
          ValueError: the autoencoder cannot be read, or is not that of the network.
        """
        self._views = views
        self._opened: autoencoder.Autoencoder | None = None
        self.factor, self.channels = factor_of(config), config.model.channels
        if is_visible(config):
            return
        self._mesh = mesh or make_mesh({"data": -1}, jax.local_devices())
        opened = autoencoder.open_autoencoder(config.autoencoder, mesh=self._mesh)
        if opened.channels != config.model.channels:
            raise ValueError(
                f"autoencoder.path={config.autoencoder.path} has latents of {opened.channels} channels; those of the "
                f"network have {config.model.channels}"
            )
        self._opened, self.channels = opened, opened.pixel_channels

    def __call__(self, latents: np.ndarray) -> np.ndarray:
        """Latents (N, C, F', H', W') -> pictures (N, 3 or 1, F, H, W) float32, about [-1, 1]."""
        if self._opened is None:
            return latents
        count, channels, frames, *sides = latents.shape
        if self._views:
            latents = np.moveaxis(latents, 2, 1).reshape(count * frames, channels, 1, *sides)
        time, rows, columns = self.factor
        pixels = ((latents.shape[2] - 1) * time + 1) * latents.shape[3] * rows * latents.shape[4] * columns
        together = min(max(PIXELS // pixels, 1) * self._mesh.size, len(latents))
        made = []
        for first in range(0, len(latents), together):
            chosen = np.arange(first, first + together).clip(max=len(latents) - 1)  # one shape, one program
            made.append(np.asarray(self._opened.decode(latents[chosen]))[: len(latents) - first])
        pictures = np.concatenate(made)
        if self._views:
            pictures = np.moveaxis(pictures.reshape(count, frames, -1, *pictures.shape[3:]), 1, 2)
        return pictures


def pixel_shape(config: Any, shape: tuple[int, ...], *, views: bool = False) -> tuple[int, int, int, int]:
    """(C, F, H, W) of the pictures of samples (C', F', H', W')."""
    channels, frames, rows, columns = shape
    if is_visible(config):
        return channels, frames, rows, columns
    time, side, _ = factor_of(config)
    return 3, frames if views else (frames - 1) * time + 1, rows * side, columns * side


def size_text(shape: tuple[int, ...]) -> str:
    """(.., F, H, W) as people read it: "512x512", "17x256x256"."""
    frames, rows, columns = shape[-3:]
    return f"{rows}x{columns}" if frames == 1 else f"{frames}x{rows}x{columns}"
