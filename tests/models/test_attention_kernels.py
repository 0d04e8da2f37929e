"""Kernels of attention, interpreted, against einsum: outputs and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptdit_jax.models import window as W
from ptdit_jax.models.attention import attend, tokens, windows
from ptdit_jax.models.attention.cudnn import cudnn_attention
from ptdit_jax.models.attention.splash import block_size, block_sizes, splash_attention
from ptdit_jax.models.attention.tokens import queries_of_program, token_attention
from ptdit_jax.models.attention.windows import window_attention
from ptdit_jax.models.stack import REMAT_POLICIES
from tests.models import tiny

jit = functools.partial(jax.jit, compiler_options=tiny.FAST)
splash = functools.partial(splash_attention, interpret=True)
few = functools.partial(token_attention, interpret=True)
packed = functools.partial(window_attention, interpret=True)
of_xla = functools.partial(cudnn_attention, implementation="xla")
FIRST = np.arange(20) < np.array([[20], [7], [1]])  # as text is padded
SOME = np.random.default_rng(1).random((3, 20)) < 0.5
SOME[:, 3] = True


def qkv(q, k, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in (q, k, k))


def results(attention, arrays):
    """The output, and the gradients of a sum of it."""

    def total(*arrays):
        out = attention(*arrays)
        return jnp.sum(jnp.sin(3 * out.astype(jnp.float32))), out

    gradients, out = jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(*arrays)
    return out, *gradients


def check(kernel, masks, arrays, atol):
    ours = results(functools.partial(kernel, **masks), arrays)
    plain = results(functools.partial(attend, **masks), arrays)
    for one, other in zip(ours, plain, strict=True):
        assert one.dtype == other.dtype
        one, other = (np.asarray(x, np.float32) for x in (one, other))
        np.testing.assert_allclose(one, other, atol=atol * max(1, np.abs(other).max()), rtol=0)


def test_splash_of_three_blocks_of_keys_is_einsum():
    assert block_size(300) == 128
    check(splash, {}, qkv((1, 150, 2, 12), (1, 300, 2, 12)), 1e-5)


@pytest.mark.parametrize("mask", ["first", "constant"])
def test_splash_sees_the_keys_that_exist(mask):
    keys = FIRST if mask == "first" else SOME[0]
    arrays = qkv((3, 5, 2, 12), (3, 20, 2, 12))
    check(splash, {"keys": keys}, arrays, 1e-5)
    exist = np.broadcast_to(keys, (3, 20))[..., None, None]
    others = (arrays[0], *(jnp.where(exist, x, 1e4) for x in arrays[1:]))
    np.testing.assert_array_equal(
        jit(functools.partial(splash, keys=keys))(*arrays), jit(functools.partial(splash, keys=keys))(*others)
    )


def test_splash_in_bfloat16_rounds_as_einsum_does():
    check(splash, {"keys": FIRST}, qkv((3, 140, 2, 24), (3, 20, 2, 24), jnp.bfloat16), 0.02)


@pytest.mark.parametrize("keys", [None, FIRST, SOME, SOME[0]])
@pytest.mark.parametrize("queries", [5, 600])
def test_tokens_ask_a_few_keys_as_einsum_does(keys, queries):
    arrays = qkv((3, queries, 2, 12), (3, 20, 2, 12))
    check(few, {"keys": keys}, arrays, 1e-5)
    if keys is not None:
        exist = np.broadcast_to(keys, (3, 20))[..., None, None]
        others = (arrays[0], *(jnp.where(exist, x, 1e4) for x in arrays[1:]))
        run = jit(functools.partial(few, keys=keys))
        np.testing.assert_array_equal(run(*arrays), run(*others))


def test_tokens_in_bfloat16_round_as_einsum_does():
    check(few, {"keys": SOME[0]}, qkv((2, 40, 2, 12), (2, 20, 2, 12), jnp.bfloat16), 0.02)


@pytest.mark.parametrize("queries", [1, 16, 200, 256, 257, 288, 4096, 18_432])
def test_queries_are_shared_out_evenly(queries):
    each = queries_of_program(queries)
    assert each % 16 == 0
    assert each <= 256
    programs = -(-queries // each)
    assert programs == -(-queries // 256)
    assert programs * each - queries < 16 * programs


def test_all_keys_must_stay_on_the_chip():
    assert tokens.takes((1, 18_432, 16, 72), (1, 1152, 16, 72))
    assert tokens.takes((1, 4096, 16, 72), (1, 200, 16, 72))
    assert not tokens.takes((1, 4096, 16, 72), (1, 1280, 16, 72))


@pytest.mark.parametrize("implementation", ["splash", "pallas"])
def test_large_windows_of_shifted_regions(implementation, monkeypatch):
    from ptdit_jax.models.attention import splash as module

    monkeypatch.setattr(module, "splash_attention", splash)
    monkeypatch.setattr(windows, "window_attention", packed)
    ids = W.shifted_window_regions(W.windowing((1, 24, 13), (1, 12, 12)))
    kernel = functools.partial(attend, implementation=implementation)
    check(kernel, {"regions": ids}, qkv((2, 4, 144, 1, 8), (2, 4, 144, 1, 8)), 1e-5)


# Windows of 4, 6 and 64 tokens, not all of them a program's full share, with every kind of mask.
@pytest.mark.parametrize(
    ("grid", "window", "kind", "windows_each"),
    [
        ((1, 8, 10), (1, 2, 2), "none", 20),
        ((2, 9, 13), (1, 2, 3), "shifted", 24),
        ((3, 7, 5), (2, 2, 2), "padding", 16),
        ((4, 8, 9), (4, 4, 4), "shifted", 2),
    ],
)
def test_windows_packed_into_programs_are_einsum(grid, window, kind, windows_each):
    layout = W.windowing(grid, window)
    regions = {"none": None, "padding": W.window_regions(layout), "shifted": W.shifted_window_regions(layout)}
    shape = (2, layout.windows, layout.window_tokens, 2, 12)
    assert windows.windows_of_program(layout.window_tokens, layout.windows) == windows_each
    check(packed, {"regions": regions[kind]}, qkv(shape, shape), 1e-5)


def test_windows_in_bfloat16_are_einsum_bit_for_bit_forward():
    shape = (1, 64, 4, 2, 12)
    arrays = qkv(shape, shape, jnp.bfloat16)
    np.testing.assert_array_equal(*(jit(f)(*arrays) for f in (packed, attend)))
    check(packed, {}, arrays, 0.02)


def test_large_windows_take_some_of_the_queries_at_a_time():
    regions = np.random.default_rng(0).integers(0, 3, (2, 512))
    check(packed, {"regions": jnp.asarray(regions)}, qkv((1, 2, 512, 1, 8), (1, 2, 512, 1, 8)), 1e-5)


def test_tokens_of_other_windows_have_no_influence_at_all():
    shape = (1, 8, 4, 1, 8)
    q, k, v = qkv(shape, shape)
    out = jit(packed)(q, k, v)
    other = jit(packed)(q, k.at[:, 1:].set(1e4), v.at[:, 1:].set(-1e4))
    np.testing.assert_array_equal(out[:, 0], other[:, 0])
    assert not np.array_equal(out[:, 1], other[:, 1])


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 6, 9, 16, 49, 64, 100, 144, 256, 1024])
@pytest.mark.parametrize("count", [1, 3, 64])
def test_programs_have_whole_tiles(tokens, count):
    each = windows.windows_of_program(tokens, count)
    assert each * tokens % 16 == 0
    assert each <= max(count, 128 // tokens, 1) + 15
    assert windows.takes((1, count, tokens, 2, 8), (1, count, tokens, 2, 8)) == (
        each * tokens <= 256 or tokens == 1024
    )


def test_only_windows_that_ask_themselves_are_packed():
    assert not windows.takes((1, 8, 4, 2, 8), (1, 8, 6, 2, 8))
    assert not windows.takes((1, 8, 225, 2, 8), (1, 8, 225, 2, 8))  # 16 of them are 3,600 tokens
    assert not windows.takes((1, 1, 2048, 2, 8), (1, 1, 2048, 2, 8))


@pytest.mark.parametrize(
    ("tokens", "block"), [(1, 128), (64, 128), (120, 128), (256, 256), (1100, 256), (1152, 256), (4096, 512)]
)
def test_blocks_by_length(tokens, block):
    assert block_size(tokens) == block


def test_the_fused_backward_pass_is_for_one_block_of_keys():
    one, three = (block_sizes(128, 128, count) for count in (1, 3))
    assert one.use_fused_bwd_kernel
    assert not three.use_fused_bwd_kernel
    assert one.has_backward_blocks
    assert three.has_backward_blocks


@pytest.mark.parametrize("keys", [None, FIRST, SOME, SOME[0]])
def test_cudnn_without_a_mask_is_einsum_with_one(keys):
    """Its wrapper: what cuDNN itself computes needs a GPU."""
    check(of_xla, {"keys": keys}, qkv((3, 5, 2, 8), (3, 20, 2, 8)), 1e-5)


@pytest.mark.parametrize("keys", [None, FIRST, SOME[0]])
def test_cudnn_is_called_without_a_bias(keys, monkeypatch):
    from jax._src.cudnn import fused_attention_stablehlo as calls

    monkeypatch.setattr(calls, "check_cudnn_version", lambda: 91000)
    arrays = qkv((3, 5, 2, 72), (3, 20, 2, 72), jnp.bfloat16)
    total = lambda *arrays: jnp.sum(cudnn_attention(*arrays, keys).astype(jnp.float32))  # noqa: E731
    lowered = jax.jit(jax.grad(total)).trace(*arrays).lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmhaSoftmaxBackward" in lowered
    assert "Bias" not in lowered
    assert ("PADDING" in lowered) == (keys is not None)
    if keys is not None and keys.ndim == 1:
        assert keys.sum() == 13
        assert "3x14x2x72" in lowered


@pytest.mark.parametrize(
    ("kernel", "shape"), [(splash, (1, 128, 1, 8)), (few, (1, 16, 1, 8)), (packed, (1, 2, 64, 1, 8))]
)
@pytest.mark.parametrize(("policy", "calls"), [("block", 3), ("attention", 2)])
def test_remat_that_keeps_attention_computes_it_once(kernel, shape, policy, calls):
    layer = jax.checkpoint(lambda x: jnp.sin(2 * kernel(x, x, x)), policy=REMAT_POLICIES[policy])
    traced = jax.make_jaxpr(jax.grad(lambda x: layer(x).sum()))(jnp.ones(shape))
    assert str(traced).count("= pallas_call") == calls
