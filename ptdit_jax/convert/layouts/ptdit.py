"""The layout of the released PT-T2I weights; PT-DiTs that were never released (classes, ablations) are named alike."""

from collections.abc import Iterator

import numpy as np

from ptdit_jax.convert.layouts import base
from ptdit_jax.convert.layouts.base import Entry
from ptdit_jax.models.conditioning import PARTS
from ptdit_jax.models.position import positions_3d
from ptdit_jax.models.variants import Architecture


def entries(arch: Architecture) -> Iterator[Entry]:
    """See `base.Layout`."""
    width, heads = arch.width, arch.heads
    yield from base.linear(
        ("patch_embedding",), "pos_embed.proj", (arch.channels * arch.patch**2,), (width,), kind="conv"
    )
    for ours, name, size in (("linear_1", "linear_1", 256), ("linear_2", "linear_2", width)):
        released = f"adaln_single.emb.timestep_embedder.{name}"
        yield from base.linear(("time_embedding", ours), released, (size,), (width,))
    if arch.adaln == "single":
        yield from base.linear(("shared_modulation", "linear"), "adaln_single.linear", (width,), (6, width))
        yield base.as_is(("final_layer", "table"), "scale_shift_table", (2, width))
    else:
        yield from base.linear(("final_layer", "modulation"), "adaln_out.linear", (width,), (2, width))
    if arch.condition == "text":
        yield from base.linear(
            ("text_projection", "linear_1"), "caption_projection.linear_1", (arch.text_dim,), (width,)
        )
        yield from base.linear(
            ("text_projection", "linear_2"), "caption_projection.linear_2", (width,), (width,)
        )
    if arch.condition == "class":
        shape = (arch.classes + 1, width)
        yield base.as_is(("class_embedding", "table"), "class_embedder.embedding_table.weight", shape)
    features = arch.patch**2 * arch.out_channels
    yield from base.linear(("final_layer", "proj_out"), "proj_out", (width,), (features,))
    for i in range(arch.depth):
        repeat, j = divmod(i, arch.group)
        for entry in block(arch, shifted=arch.shift_every > 0 and j == arch.group - 1):
            yield base.in_block(entry, "transformer_blocks", i, j, repeat)
    assert width % heads == 0


def block(arch: Architecture, *, shifted: bool) -> Iterator[Entry]:
    """Of one block, with shifted windows or without."""
    width = arch.width
    has = {"proxy": arch.giim, "injection": arch.giim, "injection_kv": arch.giim, "window": arch.tcm}
    has |= {"shift": shifted, "mlp": True}
    if arch.adaln == "single":
        yield base.as_is(("modulation", "table"), "scale_shift_table", (6, width))
        if shifted:
            yield base.as_is(("modulation", "shift_table"), "proxy_scale_shift_table", (3, width))
    else:
        rows = sum(PARTS[part] for part in has if has[part] and part in arch.modulated)
        if rows:
            yield from base.linear(("modulation", "linear"), "adaln_zero.linear", (width,), (rows, width))
    if arch.giim:
        yield from base.attention(arch, ("giim", "self_attention"), "proxy_attn1")
        if arch.injection == "cross_attention":
            yield from base.attention(arch, ("giim", "cross_attention"), "pvisual_attn2")
        elif arch.injection == "linear":
            yield from base.linear(("giim", "expand"), "proxy_expand", (width,), (arch.linear_tokens, width))
        if arch.zero_linears:
            yield from base.linear(("giim", "linear_1"), "linear_1_visual", (width,), (width,))
    if arch.tcm:
        yield from base.attention(arch, ("window_attention", "attention"), "attn1")
    if shifted:
        yield from base.attention(arch, ("shifted_attention", "attention"), "attn3")
        if arch.zero_linears:
            yield from base.linear(("linear_2",), "linear_2", (width,), (width,))
    if arch.condition == "text":
        yield from base.attention(arch, ("text_attention",), "attn2")
    hidden = arch.mlp_ratio * width
    yield from base.linear(("mlp", "up"), "ff.net.0.proj", (width,), (hidden,))
    yield from base.linear(("mlp", "down"), "ff.net.2", (hidden,), (width,))


def positions(arch: Architecture, frames: int) -> np.ndarray:
    """(1, frames, tokens a frame, D) of the declared size."""
    side = max(arch.sample_size // arch.patch, 1)
    table = positions_3d((frames, side, side), arch.width, arch.sample_size, arch.positions)
    return table.reshape(1, frames, -1, arch.width)


LAYOUT = base.Layout(
    name="original",
    family="ptdit",
    title="the released PT-T2I weights",
    marks=frozenset(
        {"pos_embed.proj.weight", "adaln_single.emb.timestep_embedder.linear_1.weight", "proj_out.weight"}
    ),
    entries=entries,
    sizes={
        "patches": "pos_embed.proj.weight",
        "outputs": "proj_out.weight",
        "classes": "class_embedder.embedding_table.weight",
        "text": "caption_projection.linear_1.weight",
    },
    buffer="pos_embed.pos_embed",
    positions=positions,
)
