"""Proxies: extraction, injection and what padding may do to them, against loops and scipy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from flax import nnx

from ptdit_jax.models import proxy as G
from ptdit_jax.models.window import merge_and_crop, pad_and_partition, partition, windowing
from tests.models import reference, tiny

# (grid, window, proxy ratio): plain, padded, several proxies a window, both, and sub-grids of padding alone.
SIZES = [
    ((1, 4, 6), (1, 2, 3), None),
    ((3, 5, 7), (2, 3, 4), None),
    ((2, 8, 4), (1, 4, 4), (1, 2, 2)),
    ((3, 7, 9), (2, 4, 6), (2, 2, 3)),
    ((1, 5, 5), (1, 4, 4), (1, 1, 2)),
]
jit = functools.partial(jax.jit, compiler_options=tiny.FAST)


def cut(grid, window, ratio, features=5, garbage=0.0):
    """A random grid (2, f, h, w, D), its layout, and its windows with `garbage` in the padding."""
    layout = windowing(grid, window, ratio)
    x = np.random.default_rng(1).standard_normal((2, *grid, features)).astype(np.float32)
    z = np.array(pad_and_partition(jnp.asarray(x), layout))
    z[:, ~layout.valid] = garbage
    return x, layout, z


@pytest.mark.parametrize(("grid", "window", "ratio"), SIZES)
@pytest.mark.parametrize("extraction", ["average", "top_left", "similarity"])
def test_extraction_is_the_loop_whatever_padding_holds(extraction, grid, window, ratio):
    x, layout, z = cut(grid, window, ratio, garbage=1e3)
    proxies = np.asarray(jit(lambda z: G.EXTRACTIONS[extraction](z, layout))(z))
    groups = reference.proxy_groups(grid, layout.window, ratio)
    exists = np.array([len(group) > 0 for group in groups])
    assert proxies.shape == (2, len(groups), 5)
    np.testing.assert_array_equal(G.proxy_valid(layout.valid, layout).any(1), exists)
    for b in range(2):
        expected = reference.extract(x[b].astype(np.float64), groups, extraction)
        if extraction == "similarity":  # of two tokens either is right
            clear = np.array([len(group) != 2 for group in groups if group])
            assert clear.any()
        else:
            clear = slice(None)
        np.testing.assert_allclose(proxies[b, exists][clear], expected[clear], atol=1e-6, rtol=0)


def test_proxies_of_a_window_come_in_order_window_j_k():
    """By hand: 4x4 tokens numbered row by row, one window, four proxies: means of strided sub-grids."""
    layout = windowing((1, 4, 4), (1, 4, 4), (1, 2, 2))
    z = jnp.arange(16.0).reshape(1, 1, 16, 1)
    np.testing.assert_array_equal(G.extract_average(z, layout)[0, :, 0], [5, 6, 9, 10])
    np.testing.assert_array_equal(G.extract_top_left(z, layout)[0, :, 0], [0, 1, 4, 5])


def test_average_of_bfloat16_is_summed_in_float32():
    layout = windowing((1, 16, 16), (1, 16, 16))
    z = jnp.ones((1, 1, 256, 1), jnp.bfloat16).at[0, 0, 0, 0].set(2048)
    proxy = G.extract_average(z, layout)
    assert proxy.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(proxy, np.float32), (2048 + 255) / 256, rtol=0.005)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("extraction", G.EXTRACTIONS)
def test_extraction_keeps_the_dtype(extraction, dtype):
    layout = windowing((1, 3, 5), (1, 2, 2))
    keys = jax.random.split(jax.random.key(0), 2)
    extract = functools.partial(G.EXTRACTIONS[extraction], layout=layout, keys=keys)
    out = jax.eval_shape(extract, jax.ShapeDtypeStruct((2, 6, 4, 8), dtype))
    assert out == jax.ShapeDtypeStruct((2, 6, 8), dtype)


@pytest.mark.parametrize(("grid", "window", "ratio"), [SIZES[1], SIZES[3]])
def test_random_picks_are_real_tokens_and_uniform(grid, window, ratio):
    layout = windowing(grid, window, ratio)
    numbers = np.arange(np.prod(grid), dtype=np.float32).reshape(1, *grid, 1)
    z = np.array(pad_and_partition(jnp.asarray(np.repeat(numbers, 2, 0)), layout))
    z[:, ~layout.valid] = -1
    draws = 600
    keys = jax.random.split(jax.random.key(0), (draws, 2))
    picks = np.asarray(jit(jax.vmap(lambda keys: G.extract_random(z, layout, keys)))(keys))[..., 0]
    groups = reference.proxy_groups(grid, layout.window, ratio)
    assert picks.shape == (draws, 2, len(groups))
    for p, group in enumerate(groups):
        if not group:
            continue
        members = [int(np.ravel_multi_index(token, grid)) for token in group]
        values, counts = np.unique(picks[:, :, p], return_counts=True)
        assert set(values.astype(int)) == set(members)  # all of the real ones, nothing else
        chance = 1 / len(members)
        spread = np.sqrt(2 * draws * chance * (1 - chance))
        assert (np.abs(counts - 2 * draws * chance) <= 5 * spread).all()


def test_samples_and_windows_draw_on_their_own():
    """Two of them agree on one of four places as often as chance has it."""
    layout = windowing((1, 4, 4), (1, 2, 2))
    z = jnp.broadcast_to(jnp.arange(4.0)[:, None], (2, 4, 4, 1))
    keys = jax.random.split(jax.random.key(0), (600, 2))
    places = np.asarray(jit(jax.vmap(lambda keys: G.extract_random(z, layout, keys)))(keys))[..., 0]
    for a, b in ((places[:, 0], places[:, 1]), (places[:, :, 0], places[:, :, 3])):
        assert abs(np.mean(a == b) - 0.25) < 0.08


def test_random_picks_depend_on_the_key_only():
    _, layout, z = cut((1, 8, 8), (1, 4, 4), None)
    extract = jit(lambda key: G.extract_random(z, layout, jax.random.split(key, 2)))
    first, same, other = (extract(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (np.asarray(first) != np.asarray(other)).any()


def test_random_picks_of_a_sample_do_not_depend_on_the_others():
    _, layout, z = cut((1, 8, 8), (1, 4, 4), None)
    keys = jax.random.split(jax.random.key(0), 2)
    alone = G.extract_random(z[1:], layout, keys[1:])
    np.testing.assert_array_equal(G.extract_random(z, layout, keys)[1:], alone)


def test_random_without_a_key_is_refused():
    _, layout, z = cut((1, 4, 4), (1, 2, 2), None)
    with pytest.raises(ValueError, match=r"extraction='random'.*keys="):
        G.extract_random(z, layout)


@pytest.mark.parametrize(
    ("grid", "window"), [((1, 6, 8), (1, 2, 4)), ((4, 6, 4), (2, 3, 4)), ((3, 5, 7), (2, 2, 3))]
)
def test_interpolation_is_linear_between_window_centres(grid, window):
    """Bilinear for images, trilinear for video; proxies lie at the centres of windows, padded or not."""
    layout = windowing(grid, window)
    proxies = np.random.default_rng(0).standard_normal((2, layout.windows, 3)).astype(np.float32)
    out = merge_and_crop(jit(lambda p: G.interpolate_proxies(p, layout))(proxies), layout)
    places = np.meshgrid(
        *[(np.arange(s) + 0.5) / c - 0.5 for s, c in zip(grid, layout.window)], indexing="ij"
    )
    for b, feature in np.ndindex(2, 3):
        values = proxies[b, :, feature].reshape(layout.counts).astype(np.float64)
        expected = scipy.ndimage.map_coordinates(values, places, order=1, mode="nearest")
        np.testing.assert_allclose(out[b, ..., feature], expected, atol=1e-6, rtol=0)


def giim(injection, extraction="average", **changes):
    arch = tiny.architecture("text", injection=injection, extraction=extraction, **changes)
    return tiny.filled(nnx.eval_shape(lambda: G.GIIM(arch, dtype=jnp.float32, rngs=nnx.Rngs(0))))


PLAIN = {part: (None, None, None) for part in tiny.PARTS}


def test_linear_injection_gives_each_token_its_own_projection():
    """Through the module, for one window: the difference to the input is linear_1 of row i of `expand`."""
    layout = windowing((1, 4, 4), (1, 2, 2))
    module = giim("linear", linear_tokens=4)
    p, z = tiny.numbers(module), np.random.default_rng(0).standard_normal((1, 4, 4, 16)).astype(np.float32)
    out = jit(lambda module: module(z, PLAIN, layout, None))(module)
    proxies = z[0].astype(np.float64).mean(1)
    proxies = proxies + reference.self_attention(p["self_attention"], reference.norm(proxies))
    for m in range(4):
        for i in range(4):
            kernel, bias = p["expand"]["kernel"][:, i], p["expand"]["bias"][i]
            update = reference.linear(p["linear_1"], reference.norm(proxies[m]) @ kernel + bias)
            np.testing.assert_allclose(out[0, m, i], z[0, m, i] + update, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("extraction", "grid", "window", "ratio"),
    [("average", *size) for size in SIZES[1:4]] + [(name, *SIZES[4]) for name in G.EXTRACTIONS],
)
def test_padding_has_no_influence(extraction, grid, window, ratio):
    """Also proxies whose sub-grid is all padding (the last size) are nobody's keys."""
    module, keys = giim("cross_attention", extraction), jax.random.split(jax.random.key(0), 2)
    layout = windowing(grid, window, ratio)
    run = jit(lambda z: merge_and_crop(module(z, PLAIN, layout, keys), layout))
    outputs = [run(cut(grid, window, ratio, features=16, garbage=garbage)[2]) for garbage in (0.0, 1e3, -7.0)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_the_last_size_has_proxies_of_padding_only():
    layout = windowing(*SIZES[-1])
    assert not G.proxy_valid(layout.valid, layout).any(1).all()


@pytest.mark.parametrize("injection", ["interpolate", "linear"])
def test_injections_of_one_proxy_refuse_several(injection):
    layout = windowing((1, 8, 8), (1, 4, 4), (1, 2, 2))
    with pytest.raises(ValueError, match=rf"injection='{injection}'.*proxy_ratio=\(1, 2, 2\)"):
        G.check_injection(injection, layout, linear_tokens=16)


def test_linear_injection_refuses_other_windows():
    layout = windowing((1, 8, 8), (1, 4, 4))
    G.check_injection("linear", layout, linear_tokens=16)
    with pytest.raises(ValueError, match=r"windows of 4 tokens, not \(1, 4, 4\)"):
        G.check_injection("linear", layout, linear_tokens=4)


def test_partition_of_interpolated_proxies_of_one_window_is_constant():
    layout = windowing((1, 4, 4), (1, 4, 4))
    out = G.interpolate_proxies(jnp.full((1, 1, 3), 2.5), layout)
    np.testing.assert_array_equal(out, partition(np.full((1, 1, 4, 4, 3), 2.5, np.float32), (1, 4, 4)))
