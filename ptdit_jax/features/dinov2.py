"""DINOv2 (arXiv 2304.07193) as a frozen network: pictures to the state of its class token after the final norm.

Fréchet distances in this space follow what people see more closely than in Inception's (arXiv 2306.04675).  Any folder
of `transformers` with a Dinov2Model is read: config.json, weights, preprocessor_config.json.  Everything is in float32
on every device.

Published folders prepare 224 pixels a side and have positions for 518: these are resized, bicubic with a = -0.75 and
no filter.  Two ways are in use, whose features differ (see `load`): that of `transformers`, whose folders resize to 256
and crop, and that of the code of arXiv 2306.04675 (dgm-eval), by which FD-DINOv2 is published: with ViT-L/14, pictures
resized to 224x224 at once, and positions as the network's authors resize them, with 0.1 added to the count of patches.

Shapes: N pictures, H rows, W columns, h and w patches of each, D width and features.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ptdit_jax.features import folder as folders
from ptdit_jax.features import preparation, transformer
from ptdit_jax.features.folder import Section
from ptdit_jax.features.preparation import Preparation

NOT_NEEDED = ("embeddings.mask_token",)  # of its training
OFFSET = 0.1  # patches, of the authors' code
CUBIC = -0.75  # a of Keys' kernel (1981), as PyTorch has it
LAYER = "encoder.layer.{}."
BOTH = {
    "norm1": "norm1",
    "scale1": "layer_scale1.lambda1",
    "norm2": "norm2",
    "scale2": "layer_scale2.lambda1",
}
PUBLISHED = {
    "query": "attention.attention.query",
    "key": "attention.attention.key",
    "value": "attention.attention.value",
    "out": "attention.output.dense",
}
RECENT = {name: f"attention.{name[0]}_proj" for name in PUBLISHED}
"""Names of a block's parts in files: in all, in published ones, and as `transformers` 5 has them in memory."""
MLP = {"up": "mlp.fc1", "down": "mlp.fc2"}
SWIGLU = {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
SWIGLU_IN, SWIGLU_OUT = "mlp.weights_in", "mlp.weights_out"
"""Names of published files: the first holds gate and up, one above the other, the second down."""
PAPER = Preparation(side=(224, 224), crop=None, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""Of dgm-eval (arXiv 2306.04675)."""
Params = dict[str, Any]
"""Parts by name, all float32: "blocks" (see `transformer.Blocks`) and what is around them."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What a config.json says.

    Attributes:
      blocks: the blocks.
      gated: whether their MLPs are SwiGLU (arXiv 2002.05202), as those of the giant network.
      biased: whether query, key and value have biases.
      side: pixels of a side of the pictures that there are positions for.
      patch: pixels of a side of a patch.
      offset: patches that are added to their count where positions are resized; see `resized`.
    """

    blocks: transformer.Architecture
    gated: bool
    biased: bool
    side: int
    patch: int
    offset: float = 0.0


@dataclasses.dataclass(frozen=True)
class Dinov2:
    """The network and its preparation of pictures.

    Attributes:
      arch: its sizes.
      params: its parameters, on the default device.
      prepare: pictures (N, H, W, 3) uint8 -> pixels (N, H', W', 3) float32, on the host.
    """

    arch: Architecture
    params: Params
    prepare: Preparation

    def features(self, pixels: np.ndarray | jax.Array) -> jax.Array:
        """Features (N, D) float32 of prepared pictures (N, H', W', 3) float32.

        Raises:
          ValueError: the pictures are of another shape, or smaller than a patch.
        """
        patch = self.arch.patch
        if pixels.ndim != 4 or pixels.shape[-1] != 3 or min(pixels.shape[1:3]) < patch:
            raise ValueError(
                f"pixels are {pixels.shape}; DINOv2's must be (N, {patch} or more, {patch} or more, 3)"
            )
        return _apply(self.arch, self.params, pixels)

    def of_images(self, images: np.ndarray) -> jax.Array:
        """Features (N, D) float32 of pictures (N, H, W, 3) uint8; raises as `prepare`."""
        return self.features(self.prepare(images))


# --- the folder


def load(folder: Path, *, as_paper: bool = False) -> tuple[Dinov2, str]:
    """The network of a folder, and a checksum of its weights, sizes and preparation: sha256, hex.

    The checksum is the same for .safetensors and .bin, in one file or several.

    Args:
      folder: see above.
      as_paper: prepare pictures and resize positions as dgm-eval does; the folder needs no preprocessor_config.json
        then.  Otherwise as `transformers` does.

    Raises:
      ValueError: a field or a tensor is wrong; names it, its value or shape and the one it must have.
      OSError: a file is missing.
    """
    arch = read_architecture(folders.config(folder, "dinov2"))
    arch = dataclasses.replace(arch, offset=OFFSET if as_paper else 0.0)
    prepare = PAPER if as_paper else preparation.read(folder)
    tensors, where = folders.open_weights(folder)
    recent = any(f".{RECENT['query']}." in name for name in tensors)
    arrays = folders.take(tensors, shapes(arch, recent=recent), where, ignored=NOT_NEEDED)
    arrays = arrays if recent else _renamed(arrays)
    facts = {"architecture": dataclasses.asdict(arch), "preparation": dataclasses.asdict(prepare)}
    return Dinov2(arch, to_params(arrays, arch), prepare), folders.digest(arrays, facts)


def read_architecture(config: Section) -> Architecture:
    """The sizes that a config.json says.

    Raises:
      ValueError: a field is wrong or of a network that is not supported.
    """
    if (channels := config.whole("num_channels", 3)) != 3:
        raise config.wrong("num_channels", channels, "3")
    width, gated = config.whole("hidden_size", 768), config.flag("use_swiglu_ffn", False)
    hidden = int(width * config.number("mlp_ratio", 4))
    blocks = transformer.Architecture(
        width,
        (hidden * 2 // 3 + 7) // 8 * 8 if gated else hidden,
        config.whole("num_hidden_layers", 12),
        config.whole("num_attention_heads", 12),
        config.one_of("hidden_act", list(transformer.ACTIVATIONS), "gelu"),
        config.number("layer_norm_eps", 1e-6),
    )
    if width % blocks.heads:
        raise config.wrong("num_attention_heads", blocks.heads, f"a divisor of hidden_size={width}")
    side, patch = config.whole("image_size", 224), config.whole("patch_size", 14)
    if patch > side:
        raise config.wrong("patch_size", patch, f"at most image_size={side}")
    return Architecture(blocks, gated, config.flag("qkv_bias", True), side, patch)


def _stems(arch: Architecture, *, recent: bool) -> dict[str, str]:
    """Part of a block -> its name; those of SwiGLU are as `transformers` 5 has them in either case."""
    names = BOTH | (RECENT if recent else PUBLISHED) | (SWIGLU if arch.gated else MLP)
    return {part: LAYER + name for part, name in names.items()}


def shapes(arch: Architecture, *, recent: bool = False) -> dict[str, tuple[int, ...]]:
    """The tensors that are needed, by their names in files, in PyTorch's order of axes.

    Args:
      arch: the sizes.
      recent: the names are those of `transformers` 5 in memory, and not those of published files.
    """
    width, hidden = arch.blocks.width, arch.blocks.hidden
    found: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.position_embeddings": (1, (arch.side // arch.patch) ** 2 + 1, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, arch.patch, arch.patch),
        "embeddings.patch_embeddings.projection.bias": (width,),
        "layernorm.weight": (width,),
        "layernorm.bias": (width,),
    }
    stems = _stems(arch, recent=recent)
    if arch.gated and not recent:
        for part in SWIGLU:
            del stems[part]
        for number in range(arch.blocks.depth):
            into, out = (LAYER.format(number) + name for name in (SWIGLU_IN, SWIGLU_OUT))
            found |= {f"{into}.weight": (2 * hidden, width), f"{into}.bias": (2 * hidden,)}
            found |= {f"{out}.weight": (width, hidden), f"{out}.bias": (width,)}
    found |= transformer.shapes(arch.blocks, stems)
    unbiased = () if arch.biased else tuple(f"{stems[part]}.bias" for part in ("query", "key", "value"))
    absent = {name.format(number) for name in unbiased for number in range(arch.blocks.depth)}
    return {name: shape for name, shape in found.items() if name not in absent}


def _renamed(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors of published files by the recent names."""
    found = {}
    for name, tensor in tensors.items():
        for part, stem in PUBLISHED.items():
            name = name.replace(f".{stem}.", f".{RECENT[part]}.")
        if SWIGLU_IN in name:
            halves = np.split(tensor, 2)
            found |= {
                name.replace(SWIGLU_IN, SWIGLU[part]): half for part, half in zip(("gate", "up"), halves)
            }
        else:
            found[name.replace(SWIGLU_OUT, SWIGLU["down"])] = tensor
    return found


def to_params(tensors: Mapping[str, np.ndarray], arch: Architecture) -> Params:
    """The parameters of tensors that have the recent `shapes`, float32."""

    def array(name: str) -> jax.Array:
        return jnp.asarray(tensors[name])

    projection = "embeddings.patch_embeddings.projection"
    return {
        "blocks": transformer.stacked(tensors, _stems(arch, recent=True), arch.blocks.depth),
        "class": array("embeddings.cls_token"),
        "position": array("embeddings.position_embeddings")[0],
        "patch": (transformer.patch_kernel(tensors[f"{projection}.weight"]), array(f"{projection}.bias")),
        "norm": (array("layernorm.weight"), array("layernorm.bias")),
    }


# --- the network


def apply(arch: Architecture, params: Params, pixels: jax.Array) -> jax.Array:
    """Features (N, D) float32 of prepared pictures (N, H', W', 3); a pure function for `jax.jit`."""
    kernel, bias = params["patch"]
    height, width = (size // arch.patch for size in pixels.shape[1:3])
    x = transformer.patches(pixels.astype(jnp.float32), kernel, arch.patch) + bias
    first = jnp.broadcast_to(params["class"], (len(x), 1, arch.blocks.width))
    x = jnp.concatenate([first, x], axis=1) + resized(params["position"], height, width, arch.offset)
    x = transformer.run(arch.blocks, params["blocks"], x)
    return transformer.norm(params["norm"], x[:, 0], arch.blocks.epsilon)


_apply = functools.partial(jax.jit, static_argnums=0)(apply)


def resized(position: jax.Array, height: int, width: int, offset: float = 0.0) -> jax.Array:
    """The positions of a square, resized to another grid of patches.

    Args:
      position: (1 + n², D) float32, that of the class token first.
      height: h.
      width: w.
      offset: see `cubic`.

    Returns:
      (1 + hw, D) float32; the same where h = w = n.
    """
    side = round((len(position) - 1) ** 0.5)
    if height == width == side:
        return position
    grid = position[1:].reshape(side, side, -1)
    rows, columns = (jnp.asarray(cubic(side, size, offset), jnp.float32) for size in (height, width))
    made = jnp.einsum("hi,ijd,wj->hwd", rows, grid, columns, precision=lax.Precision.HIGHEST)
    return jnp.concatenate([position[:1], made.reshape(height * width, -1)])


def cubic(size: int, wanted: int, offset: float = 0.0) -> np.ndarray:
    """The matrix (wanted, size) float64 of a bicubic resize along an axis, as PyTorch's without `antialias`.

    Pixel i of the result lies at (i + 1/2) size / (wanted + offset) - 1/2; what lies outside is the pixel of the edge.
    """
    place = (np.arange(wanted) + 0.5) * size / (wanted + offset) - 0.5
    low = np.floor(place).astype(int)
    found = np.zeros((wanted, size))
    for step in range(-1, 3):
        far = np.abs(place - (low + step))
        near = ((CUBIC + 2) * far - (CUBIC + 3)) * far**2 + 1
        beyond = CUBIC * (((far - 5) * far + 8) * far - 4)
        index = np.clip(low + step, 0, size - 1)
        np.add.at(found, (np.arange(wanted), index), np.where(far <= 1, near, beyond))
    return found
