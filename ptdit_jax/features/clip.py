"""CLIP (arXiv 2103.00020) as a frozen network: pictures and captions to unit vectors whose products are cosines.

Any folder of `transformers` with a CLIPModel is read: config.json, weights, tokenizer, preprocessor_config.json; also
those of others than OpenAI, whose activation is another.  Everything is in float32 on every device.

Shapes: N pictures, S pixels of their sides, K captions, L tokens, D width, P features.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.features import folder as folders
from ptdit_jax.features import preparation, transformer
from ptdit_jax.features.captions import Tokenizer
from ptdit_jax.features.folder import Section
from ptdit_jax.features.preparation import Preparation

OLD_END = 2
"""The `eos_token_id` of configs from before it was right: the caption's state is then that of its highest id."""
END = 49407  # of CLIP's vocabulary
NOT_NEEDED = (".position_ids", "logit_scale")
TEXT, VISION = "text_model", "vision_model"
STEMS = {
    "norm1": "layer_norm1",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "out": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "up": "mlp.fc1",
    "down": "mlp.fc2",
}
"""Names of a block's parts in files."""
NORMS = {
    "final": f"{TEXT}.final_layer_norm",
    "before": f"{VISION}.pre_layrnorm",  # so spelt in the files
    "after": f"{VISION}.post_layernorm",
}
PROJECTIONS = {"text": "text_projection", "image": "visual_projection"}
Params = dict[str, Any]
"""Parts by name, all float32: the blocks "text" and "vision" (see `transformer.Blocks`) and what is around them."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What a config.json says.

    Attributes:
      text: the blocks that read captions.
      vision: the blocks that read pictures.
      features: P.
      vocabulary: tokens.
      length: the most tokens of a caption.
      end: `eos_token_id`; see `OLD_END`.
      side: S.
      patch: pixels of a side of a patch, S/patch of them a side.
    """

    text: transformer.Architecture
    vision: transformer.Architecture
    features: int
    vocabulary: int
    length: int
    end: int
    side: int
    patch: int


@dataclasses.dataclass(frozen=True)
class Clip:
    """The network, its preparation of pictures and its tokenizer.

    Attributes:
      arch: its sizes.
      params: its parameters, on the default device.
      prepare: pictures (N, H, W, 3) uint8 -> pixels (N, S, S, 3) float32, on the host.
      tokens: captions -> ids (K, L) int32 and mask (K, L) bool, cut and padded to L.
    """

    arch: Architecture
    params: Params
    prepare: Preparation
    tokens: Tokenizer

    def image_embeddings(self, pixels: np.ndarray | jax.Array) -> jax.Array:
        """Unit vectors (N, P) float32 of prepared pictures (N, S, S, 3) float32.

        Raises:
          ValueError: the pictures are of another shape.
        """
        _check_pixels(self.arch, pixels)
        return _embed_images(self.arch, self.params, pixels)

    def text_embeddings(self, ids: np.ndarray, mask: np.ndarray) -> jax.Array:
        """Unit vectors (K, P) float32 of token ids (K, L) and mask (K, L), True for tokens that are no padding.

        Raises:
          ValueError: the shapes are wrong, an id is unknown, or a caption has no end.
        """
        _check_ids(self.arch, np.asarray(ids), np.asarray(mask))
        return _embed_texts(self.arch, self.params, np.asarray(ids, np.int32), np.asarray(mask, bool))

    def of_images(self, images: np.ndarray) -> jax.Array:
        """Unit vectors (N, P) float32 of pictures (N, H, W, 3) uint8; raises as `prepare`."""
        return self.image_embeddings(self.prepare(images))

    def of_captions(self, captions: Sequence[str]) -> jax.Array:
        """Unit vectors (K, P) float32 of captions."""
        return self.text_embeddings(*self.tokens(captions))


# --- the folder


def load(folder: Path) -> tuple[Clip, str]:
    """The network of a folder, and a checksum of its weights, sizes and preparation: sha256, hex.

    The checksum is the same for .safetensors and .bin, in one file or several.

    Raises:
      ValueError: a field or a tensor is wrong; names it, its value or shape and the one it must have.
      OSError: a file is missing.
    """
    arch = read_architecture(folders.config(folder, "clip"))
    prepare = preparation.read(folder)
    tokens = Tokenizer(folder, length=arch.length, vocabulary=arch.vocabulary)
    if arch.end not in (OLD_END, tokens.end):
        raise ValueError(
            f"{folder}: text_config: eos_token_id is {arch.end}, the tokenizer ends captions with {tokens.end}; "
            f"it must be that (or {OLD_END} in old folders)"
        )
    tensors, where = folders.open_weights(folder)
    arrays = folders.take(tensors, shapes(arch), where, ignored=NOT_NEEDED)
    facts = {"architecture": dataclasses.asdict(arch), "preparation": dataclasses.asdict(prepare)}
    return Clip(arch, to_params(arrays, arch), prepare, tokens), folders.digest(arrays, facts)


def read_architecture(config: Section) -> Architecture:
    """The sizes that a config.json says; `text_config_dict` stands above `text_config` where old files have both.

    Raises:
      ValueError: a field is wrong or of a network that is not supported.
    """
    text, vision = (
        config.part(name if config.facts.get(f"{name}_dict") is None else f"{name}_dict")
        for name in ("text_config", "vision_config")
    )
    if (channels := vision.whole("num_channels", 3)) != 3:
        raise vision.wrong("num_channels", channels, "3")
    side, patch = vision.whole("image_size", 224), vision.whole("patch_size", 32)
    if patch > side:
        raise vision.wrong("patch_size", patch, f"at most image_size={side}")
    return Architecture(
        _blocks(text, width=512, hidden=2048, heads=8),
        _blocks(vision, width=768, hidden=3072, heads=12),
        config.whole("projection_dim", 512),
        text.whole("vocab_size", 49408),
        text.whole("max_position_embeddings", 77),
        text.whole("eos_token_id", END, least=0),
        side,
        patch,
    )


def _blocks(section: Section, *, width: int, hidden: int, heads: int) -> transformer.Architecture:
    found = transformer.Architecture(
        section.whole("hidden_size", width),
        section.whole("intermediate_size", hidden),
        section.whole("num_hidden_layers", 12),
        section.whole("num_attention_heads", heads),
        section.one_of("hidden_act", list(transformer.ACTIVATIONS), "quick_gelu"),
        section.number("layer_norm_eps", 1e-5),
    )
    if found.width % found.heads:
        raise section.wrong("num_attention_heads", found.heads, f"a divisor of hidden_size={found.width}")
    return found


def _stems(tower: str) -> dict[str, str]:
    return {part: f"{tower}.encoder.layers.{{}}.{name}" for part, name in STEMS.items()}


def shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """The tensors that are needed, by their names in files, in PyTorch's order of axes."""
    text, vision = arch.text.width, arch.vision.width
    found: dict[str, tuple[int, ...]] = {
        f"{TEXT}.embeddings.token_embedding.weight": (arch.vocabulary, text),
        f"{TEXT}.embeddings.position_embedding.weight": (arch.length, text),
        f"{VISION}.embeddings.class_embedding": (vision,),
        f"{VISION}.embeddings.patch_embedding.weight": (vision, 3, arch.patch, arch.patch),
        f"{VISION}.embeddings.position_embedding.weight": ((arch.side // arch.patch) ** 2 + 1, vision),
        f"{PROJECTIONS['text']}.weight": (arch.features, text),
        f"{PROJECTIONS['image']}.weight": (arch.features, vision),
    }
    for name in NORMS.values():
        width = text if name.startswith(TEXT) else vision
        found |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    found |= transformer.shapes(arch.text, _stems(TEXT))
    return found | transformer.shapes(arch.vision, _stems(VISION))


def to_params(tensors: dict[str, np.ndarray], arch: Architecture) -> Params:
    """The parameters of tensors that have `shapes`, float32."""

    def array(name: str) -> jax.Array:
        return jnp.asarray(tensors[name])

    return {
        "text": transformer.stacked(tensors, _stems(TEXT), arch.text.depth),
        "vision": transformer.stacked(tensors, _stems(VISION), arch.vision.depth),
        "token": array(f"{TEXT}.embeddings.token_embedding.weight"),
        "text_position": array(f"{TEXT}.embeddings.position_embedding.weight"),
        "class": array(f"{VISION}.embeddings.class_embedding"),
        "patch": transformer.patch_kernel(tensors[f"{VISION}.embeddings.patch_embedding.weight"]),
        "image_position": array(f"{VISION}.embeddings.position_embedding.weight"),
        **{part: (array(f"{name}.weight"), array(f"{name}.bias")) for part, name in NORMS.items()},
        **{f"{part}_projection": array(f"{name}.weight").T for part, name in PROJECTIONS.items()},
    }


# --- the network


def embed_images(arch: Architecture, params: Params, pixels: jax.Array) -> jax.Array:
    """Unit vectors (N, P) float32 of prepared pictures (N, S, S, 3); a pure function for `jax.jit`."""
    x = transformer.patches(pixels.astype(jnp.float32), params["patch"], arch.patch)
    first = jnp.broadcast_to(params["class"], (len(x), 1, arch.vision.width))
    x = jnp.concatenate([first, x], axis=1) + params["image_position"]  # (N, 1 + (S/patch)², D)
    x = transformer.norm(params["before"], x, arch.vision.epsilon)
    x = transformer.run(arch.vision, params["vision"], x)
    x = transformer.norm(params["after"], x[:, 0], arch.vision.epsilon)
    return _unit(transformer.product(x, params["image_projection"]))


def embed_texts(arch: Architecture, params: Params, ids: jax.Array, mask: jax.Array) -> jax.Array:
    """Unit vectors (K, P) float32 of ids (K, L) int and mask (K, L) bool; a pure function for `jax.jit`."""
    length = ids.shape[1]
    x = params["token"][ids] + params["text_position"][:length]  # (K, L, D)
    seen = jnp.tril(jnp.ones((length, length), bool)) & mask[:, None]  # (K, L, L)
    x = transformer.run(arch.text, params["text"], x, seen)
    last = jnp.argmax(ids if arch.end == OLD_END else ids == arch.end, axis=1)  # the first of several
    x = jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]  # (K, D)
    x = transformer.norm(params["final"], x, arch.text.epsilon)
    return _unit(transformer.product(x, params["text_projection"]))


_embed_images = functools.partial(jax.jit, static_argnums=0)(embed_images)
_embed_texts = functools.partial(jax.jit, static_argnums=0)(embed_texts)


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _check_pixels(arch: Architecture, pixels: Any) -> None:
    if pixels.ndim != 4 or pixels.shape[1:] != (arch.side, arch.side, 3):
        raise ValueError(f"pixels are {pixels.shape}; CLIP's must be (N, {arch.side}, {arch.side}, 3)")


def _check_ids(arch: Architecture, ids: np.ndarray, mask: np.ndarray) -> None:
    if ids.ndim != 2 or not 1 <= ids.shape[1] <= arch.length or mask.shape != ids.shape:
        raise ValueError(
            f"ids are {ids.shape} and mask {mask.shape}; both must be (K, L), L from 1 to {arch.length} tokens"
        )
    if len(ids) and not (ids.min() >= 0 and ids.max() < arch.vocabulary):
        raise ValueError(f"ids from {ids.min()} to {ids.max()} must be from 0 to {arch.vocabulary - 1}")
    if arch.end != OLD_END and not (ids == arch.end).any(axis=1).all():
        row = int(np.argmin((ids == arch.end).any(axis=1)))
        raise ValueError(
            f"ids of caption {row} have no token {arch.end}, the end, whose state is the caption's"
        )
