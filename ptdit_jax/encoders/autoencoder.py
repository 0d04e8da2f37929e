"""Autoencoders behind one interface: pixels to the moments of latents, and latents to pixels.

Shapes: B samples, C latent channels, F frames, H rows, W columns of pixels, primed ones of latents.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from ptdit_jax.encoders import autoencoder_files as files
from ptdit_jax.encoders import autoencoder_weights as weights
from ptdit_jax.encoders.causal_vae import CausalArchitecture
from ptdit_jax.encoders.pixels import LOG_VARIANCE
from ptdit_jax.encoders.tiling import Cut, Tiling, tiled
from ptdit_jax.parallel import rules
from ptdit_jax.parallel.axes import RULES

PIXELS = "pixels"
LOG_VARIANCES = (-30.0, 20.0)  # what they are cut to before they are drawn from
Factors = float | tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """A frozen autoencoder, or none ("pixels").

    Attributes:
      name: "AutoencoderKL", "CausalVAE" or "pixels".
      channels: C.
      pixel_channels: of pictures, 3 or 1.
      factor: pixels a latent along time, rows and columns; time of a film is 1 + a multiple.
      scale: what latents are multiplied with for the denoiser, one number or one a channel.
      shift: what is subtracted before.
      posterior: "sample" or "mode", what `latents` takes of moments.
      fingerprint: sha256 of architecture and weights; dtypes and tiles are not in it.
      params: nested dict of arrays.
      apply_moments: (params, pixels (B, 3, F, H, W) in [-1, 1]) -> (B, 2C, F', H', W') float32; pure.
      apply_decode: (params, scaled latents (B, C, F', H', W')) -> (B, 3, F, H, W) float32; pure.
      mesh: the devices that `moments` and `decode` share samples over, or None.
    """

    name: str
    channels: int
    pixel_channels: int
    factor: tuple[int, int, int]
    scale: Factors
    shift: Factors
    posterior: str
    fingerprint: str
    params: Any = dataclasses.field(repr=False)
    apply_moments: Callable[[Any, jax.Array], jax.Array] = dataclasses.field(repr=False)
    apply_decode: Callable[[Any, jax.Array], jax.Array] = dataclasses.field(repr=False)
    mesh: Mesh | None = None

    def moments(self, x: Any) -> jax.Array:
        """Mean and raw log-variance of latents, unscaled: (B, 3, F, H, W) in [-1, 1] -> (B, 2C, F', H', W') float32.

        Raises:
          ValueError: channels, or a size that is no multiple of the factor.
        """
        self.check_pixels(x.shape)
        return self._run(self._compiled[0], x)

    def decode(self, z: Any) -> jax.Array:
        """Scaled latents (B, C, F', H', W') -> pixels about [-1, 1] (B, 3, F, H, W) float32.

        Raises:
          ValueError: channels.
        """
        if z.ndim != 5 or z.shape[1] != self.channels:
            raise ValueError(f"latents have shape {z.shape}; {self.name} takes (B, {self.channels}, F, H, W)")
        return self._run(self._compiled[1], z)

    def latents(self, moments: Any, key: jax.Array | None = None) -> jax.Array:
        """What the denoiser sees of moments (B, 2C, F', H', W'): (B, C, F', H', W') float32.

        Args:
          moments: as `moments` gives them.
          key: of the draw where `posterior` is "sample"; the mean is taken where it is "mode".
        """
        if (key is None) != (self.posterior == "mode"):
            raise ValueError(
                f"autoencoder.posterior={self.posterior!r} {'needs a' if key is None else 'has no'} key"
            )
        return scaled(jnp.asarray(moments), self.scale, self.shift, key)

    def check_pixels(self, shape: tuple[int, ...]) -> None:
        """Whether pixels of a shape can be encoded, and decoded to the same shape.

        Raises:
          ValueError: they cannot.
        """
        if len(shape) != 5 or shape[1] != self.pixel_channels:
            raise ValueError(
                f"pixels have shape {shape}; {self.name} takes (B, {self.pixel_channels}, F, H, W)"
            )
        time, rows, columns = self.factor
        if shape[3] % rows or shape[4] % columns or not all(shape):
            raise ValueError(
                f"pixels have {shape[3]} rows and {shape[4]} columns; {self.name} takes multiples of {rows} and "
                f"{columns}"
            )
        if (shape[2] - 1) % time:
            raise ValueError(
                f"pixels have {shape[2]} frames; {self.name} takes {time}k+1, one latent frame for the first and one "
                f"for each {time} after it"
            )

    @functools.cached_property
    def _compiled(self) -> tuple[Any, Any]:
        return jax.jit(self.apply_moments), jax.jit(self.apply_decode)

    def _run(self, call: Any, x: Any) -> jax.Array:
        if self.mesh is None:
            return call(self.params, jnp.asarray(x, jnp.float32))
        replicas = int(np.prod([self.mesh.shape.get(axis, 1) for axis in RULES["batch"]]))
        count = len(x)
        x = np.asarray(x, np.float32)
        x = np.concatenate([x, np.repeat(x[-1:], -count % replicas, axis=0)])  # every device has as many
        return call(self.params, jax.device_put(x, rules.batch_sharding(self.mesh)))[:count]


def scaled(moments: jax.Array, scale: Factors, shift: Factors, key: jax.Array | None = None) -> jax.Array:
    """(mean + exp(logvar/2)·noise - shift)·scale of moments (B, 2C, F, H, W), without noise where there is no key."""
    x, log_variance = jnp.split(moments.astype(jnp.float32), 2, axis=1)
    if key is not None:
        deviation = jnp.exp(jnp.clip(log_variance, *LOG_VARIANCES) / 2)
        x = x + deviation * jax.random.normal(key, x.shape)
    return (x - _channels(shift)) * _channels(scale)


def unscaled(z: jax.Array, scale: Factors, shift: Factors) -> jax.Array:
    """The inverse of `scaled` without noise: (B, C, F, H, W) float32."""
    return z.astype(jnp.float32) / _channels(scale) + _channels(shift)


def _channels(values: Factors) -> jax.Array:
    return jnp.asarray(values, jnp.float32).reshape(-1, 1, 1, 1)


def open_autoencoder(section: Any, *, mesh: Mesh | None = None) -> Autoencoder:
    """The autoencoder of a config.

    Args:
      section: `config.autoencoder`; its path is a folder or "pixels".
      mesh: devices that samples are shared over; parameters are split where `parallel.axes.RULES` splits them and
        the devices divide them, and whole on every device elsewhere.

    Raises:
      ValueError: the path is of no autoencoder that is supported, or its files do not fit each other.
      OSError: a file cannot be read.
    """
    if section.path == PIXELS:
        return _pixels(section, mesh)
    opened = files.open_folder(Path(section.path))
    arch = opened.arch
    _, state = weights.abstract(arch)
    params, fingerprint = opened.params, opened.fingerprint
    if mesh is not None:
        params = jax.tree.map(jax.device_put, params, shardings(state, mesh))
    else:
        params = jax.tree.map(jnp.asarray, params)
    moments, decode = _pure(arch, jnp.dtype(section.dtype), files.tiling(arch, section), opened)
    is_causal = isinstance(arch, CausalArchitecture)
    return Autoencoder(
        name="CausalVAE" if is_causal else "AutoencoderKL",
        channels=opened.channels,
        pixel_channels=3 if is_causal else arch.in_channels,
        factor=opened.factor,
        scale=opened.scale,
        shift=opened.shift,
        posterior=section.posterior,
        fingerprint=fingerprint,
        params=params,
        apply_moments=moments,
        apply_decode=decode,
        mesh=mesh,
    )


def shardings(state: Any, mesh: Mesh) -> Any:
    """Where parameters lie: as the table says where it divides them, else whole on every device."""

    def fitting(sharding: Any, leaf: Any) -> Any:
        try:
            sharding.shard_shape(leaf.shape)
        except ValueError:
            return rules.replicated(mesh)
        return sharding

    return jax.tree.map(fitting, rules.param_shardings(state, mesh), nnx.to_pure_dict(state))


def _pure(arch: Any, dtype: Any, tiles: Tiling | None, opened: Any) -> tuple[Any, Any]:
    """`apply_moments` and `apply_decode` of a network."""
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: arch.build(dtype, nnx.Rngs(0))))

    def run(call: Callable[[jax.Array], jax.Array], x: jax.Array, cut: Cut | None) -> jax.Array:
        x = jnp.moveaxis(x, 1, -1)  # (B, F, H, W, C)
        each = lambda part: call(part).astype(jnp.float32)  # noqa: E731
        return jnp.moveaxis(
            each(x) if cut is None or not cut.applies(x.shape) else tiled(each, x, cut), -1, 1
        )

    def moments(params: Any, x: jax.Array) -> jax.Array:
        return run(nnx.merge(graphdef, params).encode, x, tiles and tiles.encoding)

    def decode(params: Any, z: jax.Array) -> jax.Array:
        z = unscaled(z, opened.scale, opened.shift)
        return run(nnx.merge(graphdef, params).decode, z, tiles and tiles.decoding)

    return moments, decode


def _pixels(section: Any, mesh: Mesh | None) -> Autoencoder:
    """No autoencoder: latents are pixels."""

    def moments(params: Any, x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        return jnp.concatenate([x, jnp.full_like(x, LOG_VARIANCE)], axis=1)

    fingerprint = weights.fingerprint({"name": PIXELS, "channels": section.pixel_channels}, {}, {})
    return Autoencoder(
        name=PIXELS,
        channels=section.pixel_channels,
        pixel_channels=section.pixel_channels,
        factor=(1, 1, 1),
        scale=1.0,
        shift=0.0,
        posterior=section.posterior,
        fingerprint=fingerprint,
        params={},
        apply_moments=moments,
        apply_decode=lambda params, z: z.astype(jnp.float32),
        mesh=mesh,
    )
