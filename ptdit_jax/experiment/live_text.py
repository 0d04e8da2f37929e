"""Text that is encoded while a run trains: the frozen encoder as a part of the training step, sharded with it.

The loader gives tokens in place of states; the step encodes them on the devices and then is the step that it is with
stored states.  The encoder's parameters are an argument of the step that nothing changes and no checkpoint holds.

Shapes: B samples a step over all devices, K captions, L text tokens of the model, E text features.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.sharding import Mesh

from data_pipelines.text import pad_all
from ptdit_jax.encoders import t5_weights, text
from ptdit_jax.encoders.clean import cleaning
from ptdit_jax.encoders.tokenizer import Tokenizer
from ptdit_jax.parallel.rules import batch_sharding
from ptdit_jax.progress import track

Tokens = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
"""Captions -> ids (K, L) int32 and mask (K, L) bool."""
NAMED = 40  # letters of a caption that a warning shows


def is_live(config: Any) -> bool:
    """Whether the text of a config is encoded in the training step."""
    return config.model.condition == "text" and config.data.text == "live"


def batch_of(length: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """(shape, dtype) of one sample of what a batch holds of its captions."""
    return {"ids": ((length,), jnp.int32), "text_mask": ((length,), jnp.bool_)}


def tokens(config: Any) -> Tokens | None:
    """What makes tokens of captions for the loader; None with stored states."""
    if not is_live(config):
        return None
    files, clean = text.find(config.text_encoder.path), cleaning(config.text_encoder.clean)
    tokenizer = Tokenizer(files.tokenizer, files.arch.vocabulary)
    return lambda captions: tokenizer([clean(caption) for caption in captions], config.model.text_length)


def null(config: Any) -> np.ndarray:
    """The states (l, E) float32 of the empty caption."""
    return text.null_of(config.text_encoder, length=config.model.text_length)


def params(config: Any, mesh: Mesh) -> tuple[Any, ...]:
    """What a step is called with besides state, batch and key: the encoder's parameters, or nothing."""
    if not is_live(config):
        return ()
    files = text.find(config.text_encoder.path, needs_tokenizer=False)
    dtype = text.DTYPES[config.text_encoder.dtype]
    return (t5_weights.load(files.weights(), files.arch, dtype=dtype, mesh=mesh, progress=watched)[0],)


def abstract(config: Any, mesh: Mesh) -> tuple[Any, ...]:
    """The same without values, with shardings."""
    if not is_live(config):
        return ()
    files = text.find(config.text_encoder.path, needs_tokenizer=False)
    return (t5_weights.abstract_params(files.arch, dtype=text.DTYPES[config.text_encoder.dtype], mesh=mesh),)


def encoding_first(step: Callable, config: Any, mesh: Mesh) -> Callable:
    """A step that encodes the captions of its batch: (state, batch, key, encoder's parameters) -> as `step`.

    Args:
      step: takes batches with `text` (B, L, E) float32 and `text_mask` (B, L) bool.
      config: the whole config; with stored states `step` is returned.
      mesh: the devices.
    """
    if not is_live(config):
        return step
    files = text.find(config.text_encoder.path, needs_tokenizer=False)
    apply, place = text.make_apply(files.arch, config.text_encoder.dtype), batch_sharding(mesh)

    def live_step(state: Any, batch: dict[str, jax.Array], key: jax.Array, encoder: Any) -> Any:
        ids, mask = batch["ids"], batch["text_mask"]
        states = apply(encoder, ids, mask).astype(jnp.float32)
        states = jnp.where(mask[..., None], states, 0.0)  # as stored states are padded
        given = {name: array for name, array in batch.items() if name != "ids"}
        return step(state, given | {"text": jax.lax.with_sharding_constraint(states, place)}, key)

    return live_step


def encode(config: Any, captions: Sequence[str], mesh: Mesh | None = None) -> tuple[np.ndarray, np.ndarray]:
    """States (K, L, E) float32 and mask (K, L) bool of captions, for samples; see `unpadded`."""
    return pad_all(unpadded(config, captions, mesh), config.model.text_length)


def unpadded(config: Any, captions: Sequence[str], mesh: Mesh | None = None) -> list[np.ndarray]:
    """States (l, E) float32 of each caption, as a run of the config is trained with; see `TextEncoder.states`.

    The encoder is read, and its memory is free again when this returns.  A line on standard error names captions that
    are longer than the text of the model.

    Raises:
      ValueError: the encoder cannot be read, or has other features than the model takes.
    """
    section, length = config.text_encoder, config.model.text_length
    encoder = text.open_text_encoder(section, length=length, mesh=mesh, progress=watched)
    if encoder.dim != config.model.text_dim:
        raise ValueError(
            f"model.text_dim={config.model.text_dim} must be {encoder.dim}, the features of text_encoder.path="
            f"{section.path}"
        )
    dtype = np.float32 if is_live(config) else ml_dtypes.bfloat16  # what it was trained with
    states = encoder.states(captions, dtype=dtype)
    if jax.process_index() == 0:
        for number in encoder.cut(captions):
            start = captions[number][:NAMED] + "..." * (len(captions[number]) > NAMED)
            print(
                f"warning: caption {start!r} has more than model.text_length={length} tokens; its end is not seen",
                file=sys.stderr,
            )
    encoder.free()
    return [part.astype(np.float32) for part in states]


def watched(items: Iterable[Any], total: int) -> Iterable[Any]:
    """A bar on the first process."""
    silent = jax.process_index() != 0
    return track(items, total, "read the text encoder", "tensor", silent=silent)
