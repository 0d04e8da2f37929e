"""The layout of DiT in diffusers, `DiTTransformer2DModel`: every block has the embeddings of time and class, all equal.

Its class embeds the step at frequencies 10000^(-j/127), DiT at 10000^(-j/128): the published weights, which DiT's own
code trained, are `model.time_input="1000t"`, weights trained in diffusers "1000t_diffusers".
"""

import functools
from collections.abc import Iterator
from typing import Any

from ptdit_jax.convert.layouts import base, config_of_diffusers, dit
from ptdit_jax.convert.layouts.base import Entry
from ptdit_jax.models.conditioning import TIME_FEATURES
from ptdit_jax.models.variants import Architecture

EMBEDDING = "transformer_blocks.{}.norm1.emb"


def entries(arch: Architecture) -> Iterator[Entry]:
    """See `base.Layout`."""
    width = (arch.width,)
    yield from base.linear(
        ("patch_embedding",), "pos_embed.proj", (arch.channels * arch.patch**2,), width, kind="conv"
    )
    yield from base.linear(("final_layer", "modulation"), "proj_out_1", width, (2, *width))
    outputs = (arch.patch**2 * arch.out_channels,)
    yield from base.linear(("final_layer", "proj_out"), "proj_out_2", width, outputs)
    for i in range(arch.depth):
        name = EMBEDDING.format(i)
        names = (f"{name}.timestep_embedder.linear_1", f"{name}.timestep_embedder.linear_2")
        yield from base.mlp(("time_embedding",), names, TIME_FEATURES, arch.width, arch.width)
        classes = (arch.classes + 1, arch.width)
        yield base.as_is(
            ("class_embedding", "table"), f"{name}.class_embedder.embedding_table.weight", classes
        )
        for entry in block(arch):
            yield base.in_block(entry, "transformer_blocks", i, 0, i)


def block(arch: Architecture) -> Iterator[Entry]:
    """Of one block."""
    width, hidden = (arch.width,), (arch.mlp_ratio * arch.width,)
    yield from base.linear(("modulation", "linear"), "norm1.linear", width, (6, *width))
    yield from base.attention(arch, ("attention",), "attn1")
    yield from base.linear(("mlp", "up"), "ff.net.0.proj", width, hidden)
    yield from base.linear(("mlp", "down"), "ff.net.2", hidden, width)


def facts(arch: Architecture) -> dict[str, Any]:
    """What `config.json` says of a network.

    Raises:
      ValueError: the class has no such network.
    """
    shared = config_of_diffusers.shared_facts(arch)
    if arch.time_input == "1-t":
        raise ValueError(
            "--layout=diffusers: DiT in diffusers embeds DiT's steps; model.time_input='1-t' is SiT's, which it has not"
        )
    return shared | {
        "_class_name": "DiTTransformer2DModel",
        "norm_type": "ada_norm_zero",
        "num_embeds_ada_norm": arch.classes,
    }


ORIGINAL = (
    (r"x_embedder\.", "pos_embed."),
    (r"t_embedder\.mlp\.0", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1"),
    (r"t_embedder\.mlp\.2", "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2"),
    (r"y_embedder\.", "transformer_blocks.0.norm1.emb.class_embedder."),
    (r"final_layer\.adaLN_modulation\.1", "proj_out_1"),
    (r"final_layer\.linear", "proj_out_2"),
    (r"blocks\.(\d+)\.adaLN_modulation\.1", r"transformer_blocks.\1.norm1.linear"),
    (r"blocks\.(\d+)\.attn\.proj", r"transformer_blocks.\1.attn1.to_out.0"),
    (r"blocks\.(\d+)\.mlp\.fc1", r"transformer_blocks.\1.ff.net.0.proj"),
    (r"blocks\.(\d+)\.mlp\.fc2", r"transformer_blocks.\1.ff.net.2"),
)
PARTS = {r"blocks\.(\d+)\.attn\.qkv": [rf"transformer_blocks.\1.attn1.to_{letter}" for letter in "qkv"]}

LAYOUT = base.Layout(
    name="diffusers",
    family="dit",
    title="DiT in diffusers",
    marks=frozenset({"pos_embed.proj.weight", "proj_out_1.weight", "proj_out_2.weight"}),
    entries=entries,
    sizes={
        "patches": "pos_embed.proj.weight",
        "outputs": "proj_out_2.weight",
        "classes": "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight",
    },
    buffer="pos_embed.pos_embed",
    positions=dit.positions,
    writes_buffer=False,
    original=functools.partial(base.renamed, names=ORIGINAL, parts=PARTS),
    file="transformer/diffusion_pytorch_model.safetensors",
    facts=facts,
)
