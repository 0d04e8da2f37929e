"""The network equals the released module: outputs per sample and every intermediate activation."""

import functools

import jax
import numpy as np
import pytest

from ptdit_jax.convert import layouts
from ptdit_jax.models import attention, block, feed_forward, layers
from ptdit_jax.models.window import merge
from tests.models import tiny
from tests.models.golden import Golden

NAMES = ("image_w122", "masked_w144_p122", "masked_w144_p122_same_t", "video_w422")
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=NAMES)
def golden(request):
    return Golden(request.param)


@pytest.fixture(scope="module")
def recorded(golden):
    """{kind: [(first argument, result), ...]} of one call of the network, in the order of its calls."""
    calls = {}

    def record(patch, cls, name):
        original = cls.__call__

        def wrapper(self, *args, **kwargs):
            out = original(self, *args, **kwargs)
            calls.setdefault(name, []).append((args[0], out))
            return out

        patch.setattr(cls, "__call__", wrapper)

    @functools.partial(jax.jit, compiler_options=tiny.FAST)
    def run(model, x, t, text):
        model(x, t, text, **golden.call)
        return calls

    with pytest.MonkeyPatch.context() as patch:
        record(patch, attention.SelfAttention, "self")
        record(patch, attention.CrossAttention, "cross")
        record(patch, feed_forward.MLP, "mlp")
        record(patch, layers.Linear, "linear")
        record(patch, block.PTBlock, "block")
        return run(golden.model, *golden.inputs())


def test_output_matches_the_right_function_per_sample(golden):
    """The released module mixes modulation between samples; `output_per_sample` is each sample alone."""
    out = tiny.run(golden.model, *golden.inputs(), **golden.call)
    np.testing.assert_allclose(out, golden.arrays["output_per_sample"], atol=TOLERANCE, rtol=0)


def test_output_matches_with_every_optimization_of_the_compiler():
    golden = Golden("video_w422")
    out = jax.jit(lambda m, *a: m(*a, **golden.call))(golden.model, *golden.inputs())
    np.testing.assert_allclose(out, golden.arrays["output_per_sample"], atol=TOLERANCE, rtol=0)


def test_every_intermediate_activation_matches(golden, recorded):
    """In call order; with different t in one batch only what comes before modulation can be compared."""
    acts = {key[4:]: value for key, value in golden.arrays.items() if key.startswith("act/")}
    equal_t = len(set(golden.arrays["in/t"].tolist())) == 1
    compared = 0

    def compare(name, ours):
        nonlocal compared
        np.testing.assert_allclose(
            np.asarray(ours).reshape(acts[name].shape), acts[name], atol=TOLERANCE, rtol=0
        )
        compared += 1

    width = golden.arch.width
    linears = [out for _, out in recorded["linear"]]
    layout = golden.model.layout(golden.arrays["in/x"].shape[2:], **golden.call)
    # Calls in order: time 1, time 2, text 1, text 2, patch embedding, t6, then the blocks.
    compare("adaln_single.1", linears[1])
    compare("caption_projection", linears[3])
    compare("pos_embed", linears[4] + golden.model.positions(layout))
    compare("adaln_single.0", linears[5])
    for i in range(golden.arch.depth if equal_t else 1):
        proxies, windows, shifted = recorded["self"][3 * i : 3 * i + 3]
        injection, text_attention = recorded["cross"][2 * i : 2 * i + 2]
        compare(f"block{i}.proxy_norm1", proxies[0])
        compare(f"block{i}.proxy_attn1", proxies[1])
        compare(f"block{i}.pvisual_attn2", injection[1])
        if not equal_t:
            break
        compare(f"block{i}.attn1", windows[1])
        compare(f"block{i}.attn3", shifted[1])
        compare(f"block{i}.attn2", text_attention[1])
        compare(f"block{i}.ff", recorded["mlp"][i][1])
    squares = [
        out for _, out in recorded["linear"] if out.shape[1:] == (layout.windows, layout.window_tokens, width)
    ]
    # A block's Linears that keep (B, M, n, D): linear_1, out of both window attentions, linear_2, MLP down.
    per_block = 5
    assert len(squares) == per_block * golden.arch.depth
    for i in range(golden.arch.depth if equal_t else 1):
        compare(f"block{i}.linear_1_visual", squares[per_block * i])
        if equal_t:
            compare(f"block{i}.linear_2", squares[per_block * i + 3])
    assert compared == (4 + 9 * golden.arch.depth if equal_t else 4 + 4)


def test_weights_round_trip_bit_equal(golden):
    released = layouts.named("ptdit")
    ours = released.from_tensors(golden.tensors, golden.arch)
    back = released.to_tensors(ours, golden.arch)
    assert set(back) == set(golden.tensors) - {released.buffer}
    for name, tensor in back.items():
        np.testing.assert_array_equal(tensor, golden.tensors[name])


def test_position_table_equals_the_released_buffer(golden):
    """The buffer is one frame's table without time in the image model; the video's has its own frame axis."""
    buffer = golden.tensors["pos_embed.pos_embed"]
    layout = golden.model.layout(golden.arrays["in/x"].shape[2:], **golden.call)
    table = np.asarray(golden.model.positions(layout))
    assert buffer.shape[-1] == table.shape[-1]
    np.testing.assert_allclose(
        buffer.reshape(-1, *table.shape[1:])[: table.shape[0]], table, atol=1e-6, rtol=0
    )


def test_block_outputs_match_in_equal_time_batches(golden, recorded):
    x, t, text = golden.inputs()
    if len(set(golden.arrays["in/t"].tolist())) > 1:
        mixed = tiny.run(golden.model, x, t, text, **golden.call)
        for b in range(x.shape[0]):
            sample = slice(b, b + 1)
            alone = tiny.run(
                golden.model, x[sample], t[sample], (text[0][sample], text[1][sample]), **golden.call
            )
            np.testing.assert_allclose(mixed[sample], alone, atol=1e-5, rtol=0)
        return
    outputs = [np.asarray(z) for _, z in recorded["block"]]
    assert len(outputs) == golden.arch.depth
    for i, z in enumerate(outputs):
        act = golden.arrays[f"act/block{i}"]
        np.testing.assert_allclose(z.reshape(act.shape), act, atol=TOLERANCE, rtol=0)
    layout = golden.model.layout(x.shape[2:], **golden.call)
    assert merge(outputs[-1], layout.counts, layout.window).shape[1:4] == layout.grid
