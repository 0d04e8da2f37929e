"""The layout of PixArt-α in diffusers, `PixArtTransformer2DModel`."""

import functools
from collections.abc import Iterator
from typing import Any

from ptdit_jax.convert.layouts import base, config_of_diffusers, pixart
from ptdit_jax.convert.layouts.base import Entry
from ptdit_jax.models.conditioning import TIME_FEATURES
from ptdit_jax.models.position import position_scale
from ptdit_jax.models.variants import Architecture

SIZES = {"resolution": "resolution_embedder", "ratio": "aspect_ratio_embedder"}


def entries(arch: Architecture) -> Iterator[Entry]:
    """See `base.Layout`."""
    width = (arch.width,)
    yield from base.linear(
        ("patch_embedding",), "pos_embed.proj", (arch.channels * arch.patch**2,), width, kind="conv"
    )
    yield from _embedding(("time_embedding",), "timestep_embedder", arch.width)
    if arch.size_condition:
        for ours, name in SIZES.items():
            yield from _embedding(("size_embedding", ours), name, arch.width // 3)
    yield from base.linear(("shared_modulation", "linear"), "adaln_single.linear", width, (6, *width))
    names = ("caption_projection.linear_1", "caption_projection.linear_2")
    yield from base.mlp(("text_projection",), names, arch.text_dim, arch.width, arch.width)
    yield base.as_is(("final_layer", "table"), "scale_shift_table", (2, *width))
    outputs = (arch.patch**2 * arch.out_channels,)
    yield from base.linear(("final_layer", "proj_out"), "proj_out", width, outputs)
    for i in range(arch.depth):
        for entry in block(arch):
            yield base.in_block(entry, "transformer_blocks", i, 0, i)


def _embedding(path: base.Path, name: str, width: int) -> Iterator[Entry]:
    names = (f"adaln_single.emb.{name}.linear_1", f"adaln_single.emb.{name}.linear_2")
    yield from base.mlp(path, names, TIME_FEATURES, width, width)


def block(arch: Architecture) -> Iterator[Entry]:
    """Of one block."""
    width, hidden = (arch.width,), (arch.mlp_ratio * arch.width,)
    yield base.as_is(("modulation", "table"), "scale_shift_table", (6, *width))
    yield from base.attention(arch, ("attention",), "attn1")
    yield from base.attention(arch, ("text_attention",), "attn2")
    yield from base.linear(("mlp", "up"), "ff.net.0.proj", width, hidden)
    yield from base.linear(("mlp", "down"), "ff.net.2", hidden, width)


def facts(arch: Architecture) -> dict[str, Any]:
    """What `config.json` says of a network.

    Raises:
      ValueError: the class has no such network.
    """
    shared = config_of_diffusers.shared_facts(arch)
    return shared | {
        "_class_name": "PixArtTransformer2DModel",
        "attention_type": "default",
        "caption_channels": arch.text_dim,
        "cross_attention_dim": arch.width,
        "interpolation_scale": position_scale(arch.sample_size),
        "norm_type": "ada_norm_single",
        "use_additional_conditions": bool(arch.size_condition),
    }


ORIGINAL = (
    (r"x_embedder\.", "pos_embed."),
    (r"t_embedder\.mlp\.0", "adaln_single.emb.timestep_embedder.linear_1"),
    (r"t_embedder\.mlp\.2", "adaln_single.emb.timestep_embedder.linear_2"),
    (r"csize_embedder\.mlp\.0", "adaln_single.emb.resolution_embedder.linear_1"),
    (r"csize_embedder\.mlp\.2", "adaln_single.emb.resolution_embedder.linear_2"),
    (r"ar_embedder\.mlp\.0", "adaln_single.emb.aspect_ratio_embedder.linear_1"),
    (r"ar_embedder\.mlp\.2", "adaln_single.emb.aspect_ratio_embedder.linear_2"),
    (r"t_block\.1", "adaln_single.linear"),
    (r"y_embedder\.y_proj\.fc1", "caption_projection.linear_1"),
    (r"y_embedder\.y_proj\.fc2", "caption_projection.linear_2"),
    (r"final_layer\.linear", "proj_out"),
    (r"final_layer\.scale_shift_table", "scale_shift_table"),
    (r"blocks\.(\d+)\.scale_shift_table", r"transformer_blocks.\1.scale_shift_table"),
    (r"blocks\.(\d+)\.attn\.proj", r"transformer_blocks.\1.attn1.to_out.0"),
    (r"blocks\.(\d+)\.cross_attn\.q_linear", r"transformer_blocks.\1.attn2.to_q"),
    (r"blocks\.(\d+)\.cross_attn\.proj", r"transformer_blocks.\1.attn2.to_out.0"),
    (r"blocks\.(\d+)\.mlp\.fc1", r"transformer_blocks.\1.ff.net.0.proj"),
    (r"blocks\.(\d+)\.mlp\.fc2", r"transformer_blocks.\1.ff.net.2"),
)
PARTS = {
    r"blocks\.(\d+)\.attn\.qkv": [rf"transformer_blocks.\1.attn1.to_{letter}" for letter in "qkv"],
    r"blocks\.(\d+)\.cross_attn\.kv_linear": [rf"transformer_blocks.\1.attn2.to_{letter}" for letter in "kv"],
}

LAYOUT = base.Layout(
    name="diffusers",
    family="pixart",
    title="PixArt-α in diffusers",
    marks=frozenset(
        {"pos_embed.proj.weight", "adaln_single.linear.weight", "caption_projection.linear_1.weight"}
    ),
    unlike=r"transformer_blocks\.\d+\.(proxy_|pvisual_|linear_|attn3\.)",  # PT-DiT's
    entries=entries,
    sizes={
        "patches": "pos_embed.proj.weight",
        "outputs": "proj_out.weight",
        "text": "caption_projection.linear_1.weight",
        "size": "adaln_single.emb.resolution_embedder.linear_1.weight",
    },
    buffer="pos_embed.pos_embed",
    positions=pixart.positions,
    writes_buffer=False,
    null_text="caption_projection.y_embedding",
    original=functools.partial(base.renamed, names=ORIGINAL, parts=PARTS),
    file="transformer/diffusion_pytorch_model.safetensors",
    facts=facts,
)
