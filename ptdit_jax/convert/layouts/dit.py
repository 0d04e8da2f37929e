"""The layout of DiT (github.com/facebookresearch/DiT) and SiT (github.com/willisma/SiT): q, k and v in one tensor."""

from collections.abc import Iterator

import numpy as np

from ptdit_jax.convert.layouts import base
from ptdit_jax.convert.layouts.base import Entry
from ptdit_jax.models.conditioning import TIME_FEATURES
from ptdit_jax.models.position import positions_2d
from ptdit_jax.models.variants import Architecture


def entries(arch: Architecture) -> Iterator[Entry]:
    """See `base.Layout`."""
    width, inputs = (arch.width,), (arch.channels * arch.patch**2,)
    yield from base.linear(("patch_embedding",), "x_embedder.proj", inputs, width, kind="conv")
    names = ("t_embedder.mlp.0", "t_embedder.mlp.2")
    yield from base.mlp(("time_embedding",), names, TIME_FEATURES, arch.width, arch.width)
    classes = (arch.classes + 1, arch.width)
    yield base.as_is(("class_embedding", "table"), "y_embedder.embedding_table.weight", classes)
    outputs = (arch.patch**2 * arch.out_channels,)
    yield from base.linear(("final_layer", "proj_out"), "final_layer.linear", width, outputs)
    yield from base.linear(
        ("final_layer", "modulation"), "final_layer.adaLN_modulation.1", width, (2, *width)
    )
    for i in range(arch.depth):
        for entry in block(arch):
            yield base.in_block(entry, "blocks", i, 0, i)


def block(arch: Architecture) -> Iterator[Entry]:
    """Of one block."""
    width, hidden = arch.width, arch.mlp_ratio * arch.width
    yield from base.fused(("attention",), "qkv", "attn.qkv", arch.width)
    yield from base.linear(("attention", "out"), "attn.proj", (width,), (width,))
    yield from base.linear(("mlp", "up"), "mlp.fc1", (width,), (hidden,))
    yield from base.linear(("mlp", "down"), "mlp.fc2", (hidden,), (width,))
    yield from base.linear(("modulation", "linear"), "adaLN_modulation.1", (width,), (6, width))


def positions(arch: Architecture, frames: int) -> np.ndarray:
    """(1, tokens, D) of the declared size."""
    del frames
    side = max(arch.sample_size // arch.patch, 1)
    return positions_2d((1, side, side), arch.width).reshape(1, -1, arch.width)


LAYOUT = base.Layout(
    name="original",
    family="dit",
    title="DiT's and SiT's own code",
    marks=frozenset(
        {"x_embedder.proj.weight", "y_embedder.embedding_table.weight", "final_layer.linear.weight"}
    ),
    entries=entries,
    sizes={
        "patches": "x_embedder.proj.weight",
        "outputs": "final_layer.linear.weight",
        "classes": "y_embedder.embedding_table.weight",
    },
    buffer="pos_embed",
    positions=positions,
)
