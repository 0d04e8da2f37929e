"""Networks that keep what a call computed, against loops over their blocks."""

import functools

import jax
import numpy as np
import pytest
from einops import rearrange

from ptdit_jax.models.window import merge_and_crop, pad_and_partition
from tests.models import tiny

SIZE, WINDOW = (1, 6, 8), (1, 2, 2)  # padded


@functools.partial(jax.jit, static_argnames=("keep",), compiler_options=tiny.FAST)
def run(model, x, t, condition, kept, *, keep):
    return model.with_kept(x, t, condition, kept, keep=keep, window=WINDOW)


@functools.partial(jax.jit, static_argnames=("keep",), compiler_options=tiny.FAST)
def by_hand(model, x, t, condition, kept, *, keep):
    """A call as a loop; `kept` as of an earlier one, a list of updates in order or the residual."""
    arch, layout = model.arch, model.layout(x.shape[2:], WINDOW, None)
    emb, text, mask = model.embed_condition(t, condition, x.shape[2:])
    patches = rearrange(x, "b c f (h p) (w q) -> b f h w (c p q)", p=arch.patch, q=arch.patch)
    z = start = pad_and_partition(model.patch_embedding(patches) + model.positions(layout), layout)
    block_emb = emb if model.shared_modulation is None else model.shared_modulation(emb)
    updates = []
    for number in range(arch.depth):
        stacked = model.blocks[number % arch.group]
        block = jax.tree.map(lambda leaf, i=number // arch.group: leaf[i], stacked)
        update = block.giim(z, block.modulation(block_emb), layout, None) - z
        if keep == "global" and kept is not None:
            update = kept[number]
        updates.append(update)
        block.giim = None  # what follows the global branch
        z = block(z + update, block_emb, text, mask, layout, None)
    residual = z - start
    if keep == "blocks" and kept is not None:
        z = start + kept
    out = merge_and_crop(model.final_layer(z, emb), layout)
    out = rearrange(out, "b f h w (p q c) -> b c f (h p) (w q)", p=arch.patch, q=arch.patch)
    return out, updates if keep == "global" else residual


@pytest.mark.parametrize("keep", ["blocks", "global"])
@pytest.mark.parametrize(
    ("condition", "changes"),
    [("text", {"depth": 3}), ("class", {"depth": 4, "shift_every": 2, "unroll": 0})],
)
def test_reuse_is_a_loop_over_blocks_with_what_was_kept(keep, condition, changes):
    arch = tiny.architecture(condition, **changes)
    model, (x, t, given) = tiny.network(arch), tiny.inputs(arch, SIZE)
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-5)
    first, kept = run(model, x, t, given, None, keep=keep)
    expected, by_loop = by_hand(model, x, t, given, None, keep=keep)
    close(first, expected)
    # What a scan also returns may be fused otherwise.
    np.testing.assert_allclose(first, tiny.run(model, x, t, given, window=WINDOW), rtol=0, atol=2e-6)

    later, x_later = t * 0.7, x * 0.9 + 0.1
    reused, _ = run(model, x_later, later, given, kept, keep=keep)
    close(reused, by_hand(model, x_later, later, given, by_loop, keep=keep)[0])
    plain = tiny.run(model, x_later, later, given, window=WINDOW)
    assert np.abs(reused - plain).max() > 1e-3  # what was kept is not what is computed there
    again, _ = run(model, x, t, given, kept, keep=keep)
    close(again, first)


def test_a_baseline_keeps_its_blocks_residual():
    arch = tiny.architecture("class", family="dit", giim=False, tcm=False, shift_every=0)
    model, (x, t, given) = tiny.network(arch), tiny.inputs(arch, SIZE)
    first, kept = run(model, x, t, given, None, keep="blocks")
    np.testing.assert_array_equal(first, tiny.run(model, x, t, given, window=WINDOW))
    np.testing.assert_allclose(run(model, x, t, given, kept, keep="blocks")[0], first, rtol=0, atol=2e-5)
