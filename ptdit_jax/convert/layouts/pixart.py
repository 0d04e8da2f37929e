"""The layout of PixArt-α's own code (github.com/PixArt-alpha/PixArt-alpha), of its MS models too."""

from collections.abc import Iterator

import numpy as np

from ptdit_jax.convert.layouts import base
from ptdit_jax.convert.layouts.base import Entry
from ptdit_jax.models.conditioning import TIME_FEATURES
from ptdit_jax.models.position import position_scale, positions_2d
from ptdit_jax.models.variants import Architecture

SIZES = {"resolution": "csize_embedder", "ratio": "ar_embedder"}
"""The MS models' embeddings of height and width, and of their ratio."""


def entries(arch: Architecture) -> Iterator[Entry]:
    """See `base.Layout`."""
    width = (arch.width,)
    yield from base.linear(
        ("patch_embedding",), "x_embedder.proj", (arch.channels * arch.patch**2,), width, kind="conv"
    )
    names = ("t_embedder.mlp.0", "t_embedder.mlp.2")
    yield from base.mlp(("time_embedding",), names, TIME_FEATURES, arch.width, arch.width)
    if arch.size_condition:
        for ours, name in SIZES.items():
            names = (f"{name}.mlp.0", f"{name}.mlp.2")
            third = arch.width // 3
            yield from base.mlp(("size_embedding", ours), names, TIME_FEATURES, third, third)
    yield from base.linear(("shared_modulation", "linear"), "t_block.1", width, (6, *width))
    names = ("y_embedder.y_proj.fc1", "y_embedder.y_proj.fc2")
    yield from base.mlp(("text_projection",), names, arch.text_dim, arch.width, arch.width)
    yield base.as_is(("final_layer", "table"), "final_layer.scale_shift_table", (2, *width))
    outputs = (arch.patch**2 * arch.out_channels,)
    yield from base.linear(("final_layer", "proj_out"), "final_layer.linear", width, outputs)
    for i in range(arch.depth):
        for entry in block(arch):
            yield base.in_block(entry, "blocks", i, 0, i)


def block(arch: Architecture) -> Iterator[Entry]:
    """Of one block."""
    width, hidden = (arch.width,), (arch.mlp_ratio * arch.width,)
    yield base.as_is(("modulation", "table"), "scale_shift_table", (6, *width))
    yield from base.fused(("attention",), "qkv", "attn.qkv", arch.width)
    yield from base.linear(("attention", "out"), "attn.proj", width, width)
    yield from base.linear(("text_attention", "q"), "cross_attn.q_linear", width, width)
    yield from base.fused(("text_attention",), "kv", "cross_attn.kv_linear", arch.width)
    yield from base.linear(("text_attention", "out"), "cross_attn.proj", width, width)
    yield from base.linear(("mlp", "up"), "mlp.fc1", width, hidden)
    yield from base.linear(("mlp", "down"), "mlp.fc2", hidden, width)


def positions(arch: Architecture, frames: int) -> np.ndarray:
    """(1, tokens, D) of the declared size."""
    del frames
    side = max(arch.sample_size // arch.patch, 1)
    table = positions_2d((1, side, side), arch.width, position_scale(arch.sample_size))
    return table.reshape(1, -1, arch.width)


LAYOUT = base.Layout(
    name="original",
    family="pixart",
    title="PixArt-α's own code",
    marks=frozenset({"x_embedder.proj.weight", "t_block.1.weight", "y_embedder.y_proj.fc1.weight"}),
    entries=entries,
    sizes={
        "patches": "x_embedder.proj.weight",
        "outputs": "final_layer.linear.weight",
        "text": "y_embedder.y_proj.fc1.weight",
        "size": "csize_embedder.mlp.0.weight",
    },
    buffer="pos_embed",
    positions=positions,
    null_text="y_embedder.y_embedding",
    file="model.pth",
)
