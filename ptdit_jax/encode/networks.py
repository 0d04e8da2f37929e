"""The frozen encoders of a config on the devices of this process, in batches of few shapes.

What a record becomes does not depend on how many devices or processes there are: a device encodes `encode.batch`
pictures at once whatever else there is, and what is left of a unit is filled up with zeros.

Shapes: B records, F frames, H rows, W columns, C latent channels, F' x H' x W' latents; K captions, L tokens, E
features.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from ptdit_jax.encoders import autoencoder, compiling
from ptdit_jax.encoders import text as text_encoder
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.parallel.rules import batch_sharding

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # grey of red, green and blue, ITU-R BT.601
SHORTEST = 16  # tokens of the shortest batches of captions


class Networks:
    """The autoencoder and the text encoder of a config.

    Attributes:
      autoencoder: for pictures and films; each device has it whole.
      text: for captions, split over `mesh.tensor` devices; None where no captions are encoded.
    """

    def __init__(self, config: Any, opened: autoencoder.Autoencoder):
        """Load the text encoder.

        Args:
          config: the whole config.
          opened: from `open_autoencoder`.

        Raises:
          ValueError: a path, a device count or a size of the config does not go with what is there.
          OSError: a file cannot be read.
        """
        devices, tensor = jax.local_devices(), config.mesh.tensor
        if tensor < 1 or len(devices) % tensor:
            raise ValueError(
                f"mesh.tensor={tensor} must divide the {len(devices)} device(s) of a process: the text encoder is "
                "split over them"
            )
        self._encode, self.length = config.encode, config.model.text_length
        self._pixel_mesh = opened.mesh or make_mesh({"data": -1}, devices)
        self._text_mesh = make_mesh({"data": -1, "fsdp": 1, "tensor": tensor, "context": 1}, devices)
        self.autoencoder = opened
        self.text: text_encoder.TextEncoder | None = None
        if stores_text(config):
            self.text = text_encoder.open_text_encoder(
                config.text_encoder, length=self.length, mesh=self._text_mesh
            )
        self._moments = _compiled(self._apply_moments, self._pixel_mesh)
        if self.text is not None:
            options = compiling.options(text_encoder.DTYPES[config.text_encoder.dtype])
            self._states = _compiled(self._apply_states, self._text_mesh, options)

    def _apply_moments(self, params: Any, pixels: jax.Array) -> jax.Array:
        x = jnp.moveaxis(pixels.astype(jnp.float32) / 127.5 - 1, -1, 1)  # (B, 3, F, H, W)
        if self.autoencoder.pixel_channels == 1:
            x = jnp.einsum("bcfhw,c->bfhw", x, LUMA)[:, None]
        return self.autoencoder.apply_moments(params, x).astype(jnp.bfloat16)

    def _apply_states(self, params: Any, ids: jax.Array, mask: jax.Array) -> jax.Array:
        assert self.text is not None
        return self.text.apply(params, ids, mask).astype(jnp.bfloat16)

    def batch_size(self, frames: int) -> int:
        """Records of F frames that all devices of this process encode at once."""
        return max(self._encode.batch // frames, 1) * self._pixel_mesh.size

    @property
    def captions_size(self) -> int:
        """Captions that all devices of this process encode at once."""
        return self._encode.captions * self._text_mesh.shape["data"]

    def moments(self, pixels: Sequence[np.ndarray], *, views: bool) -> jax.Array:
        """Start to encode records of one shape.

        Args:
          pixels: (F, H, W, 3) uint8 each, at most `batch_size` of them.
          views: the frames are pictures by themselves, and no film.

        Returns:
          (B, 2C, F', H', W') bfloat16, not waited for, B of `batch_size`.
        """
        frames = pixels[0].shape[0]
        batch = np.zeros((self.batch_size(frames), *pixels[0].shape), np.uint8)
        batch[: len(pixels)] = np.stack(pixels)
        if not views:
            return self._moments(self.autoencoder.params, batch)
        single = self._moments(self.autoencoder.params, batch.reshape(-1, 1, *batch.shape[2:]))
        # (B F, 2C, 1, H', W') to (B, 2C, F, H', W')
        return jnp.moveaxis(single.reshape(len(batch), frames, *single.shape[1:])[:, :, :, 0], 1, 2)

    def tokens(self, caption: str) -> tuple[np.ndarray, int]:
        """Ids of a caption (L,) int32, with L the length of the batches that it goes into, and how many are its own.

        Captions go into batches of three lengths, so that short ones are not encoded at the length of the longest.
        """
        assert self.text is not None
        ids, mask = self.text.tokens([caption])
        count = int(mask[0].sum())
        return ids[0, : self.rung(count)], count

    def rung(self, count: int) -> int:
        """The shortest length of a batch with room for so many tokens: a quarter, a half or all of the config's."""
        steps = [max(math.ceil(self.length / part), min(SHORTEST, self.length)) for part in (4, 2, 1)]
        return next(step for step in steps if count <= step)

    def states(self, ids: Sequence[np.ndarray], counts: Sequence[int]) -> jax.Array:
        """Start to encode captions.

        Args:
          ids: (L,) each, of one length, at most `captions_size` of them.
          counts: tokens of each that are its own.

        Returns:
          (K, L, E) bfloat16, not waited for, K of `captions_size`.
        """
        assert self.text is not None
        batch = np.zeros((self.captions_size, len(ids[0])), np.int32)
        batch[: len(ids)] = np.stack(ids)
        lengths = np.ones(
            len(batch), np.int32
        )  # the filling attends to one token: of none there is no softmax
        lengths[: len(ids)] = counts
        mask = np.arange(batch.shape[1]) < lengths[:, None]
        return self._states(self.text.params, batch, mask)


def stores_text(config: Any) -> bool:
    """Whether shards hold text states: not without an encoder, nor where the training encodes captions itself."""
    return bool(config.text_encoder.path) and config.data.text == "stored"


def needs_captions(config: Any) -> bool:
    """Whether each record needs a caption."""
    return bool(config.text_encoder.path) or config.model.condition == "text"


def open_autoencoder(config: Any) -> autoencoder.Autoencoder:
    """The autoencoder of a config, whole on each device of this process."""
    return autoencoder.open_autoencoder(config.autoencoder, mesh=make_mesh({"data": -1}, jax.local_devices()))


def text_fingerprint(config: Any) -> str:
    """That of the text encoder, "" for none; every tensor is read once."""
    return text_encoder.fingerprint_of(config.text_encoder) if stores_text(config) else ""


def check(config: Any) -> None:
    """Refuse a config that names no encoders.

    Raises:
      ValueError: naming the field.
    """
    if not config.autoencoder.path:
        raise ValueError(
            "autoencoder.path is empty; it must be a folder with an autoencoder, or 'pixels' (docs/encode.md)"
        )
    if config.model.condition == "text" and not config.text_encoder.path:
        raise ValueError(
            "text_encoder.path is empty; model.condition='text' needs a folder with a T5 encoder, or 'bytes' "
            "(docs/encode.md)"
        )


def host(array: jax.Array) -> np.ndarray:
    """An array of the devices as bfloat16 of numpy; waits for it."""
    return np.asarray(array).view(ml_dtypes.bfloat16)


def _compiled(function: Any, mesh: jax.sharding.Mesh, options: dict[str, str] | None = None) -> Any:
    """A function of parameters and arrays with the batch first, each device with its share of that."""
    place = batch_sharding(mesh)
    program = jax.jit(function, out_shardings=place, compiler_options=options)
    return lambda params, *arrays: program(params, *(jax.device_put(array, place) for array in arrays))


def check_sizes(config: Any, found: autoencoder.Autoencoder) -> None:
    """Refuse a network that could not be trained on what these encoders give.

    Raises:
      ValueError: naming the field.
    """
    model = config.model
    if found.channels != model.channels:
        raise ValueError(
            f"model.channels={model.channels} must be {found.channels}, as autoencoder.path={config.autoencoder.path} "
            "gives"
        )
    if set(found.factor[1:]) != {config.data.pixels_per_latent}:
        raise ValueError(
            f"data.pixels_per_latent={config.data.pixels_per_latent} must be {found.factor[1]}, as autoencoder.path="
            f"{config.autoencoder.path} gives"
        )
    if (
        stores_text(config)
        and (dim := text_encoder.find(config.text_encoder.path).arch.width) != model.text_dim
    ):
        raise ValueError(
            f"model.text_dim={model.text_dim} must be {dim}, as text_encoder.path={config.text_encoder.path} gives"
        )
