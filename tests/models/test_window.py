"""Windows, shifts and masks against loops over coordinates, at sizes that windows do not divide."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ptdit_jax.models import window as W
from ptdit_jax.models.attention import region_mask
from tests.models import reference, tiny

GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
jit = functools.partial(jax.jit, compiler_options=tiny.FAST)
few_examples = settings(max_examples=12)  # where each size is compiled


def numbered(grid, features=1):
    """(2, *grid, features) of different numbers."""
    shape = (2, *grid, features)
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@given(counts=WINDOWS, window=WINDOWS, features=st.integers(1, 3))
def test_merge_inverts_partition(counts, window, features):
    x = numbered([m * c for m, c in zip(counts, window)], features)
    cut = W.partition(x, window)
    assert cut.shape == (2, np.prod(counts), np.prod(window), features)
    np.testing.assert_array_equal(W.merge(cut, counts, window), x)


@given(counts=WINDOWS, window=WINDOWS)
def test_partition_is_row_major_over_windows_and_inside(counts, window):
    x = numbered([m * c for m, c in zip(counts, window)])
    cut = W.partition(x, window)
    for m, index in enumerate(itertools.product(*map(range, counts))):
        for i, inside in enumerate(itertools.product(*map(range, window))):
            token = tuple(a * c + b for a, c, b in zip(index, window, inside))
            assert cut[1, m, i, 0] == x[(1, *token, 0)]


@few_examples
@given(grid=GRIDS, window=WINDOWS)
@example(grid=(3, 5, 7), window=(2, 2, 4))
def test_padding_surrounds_the_real_tokens_and_is_cropped(grid, window):
    layout = W.windowing(grid, window)
    x = 1 + numbered(grid, 2)
    cut = np.asarray(jit(lambda x: W.pad_and_partition(x, layout))(x))
    np.testing.assert_array_equal(W.merge_and_crop(cut, layout), x)
    members = reference.windows(grid, layout.window)
    real = [[x[(1, *token)].tolist() for token in window] for window in members]
    assert [cut[1, m][layout.valid[m]].tolist() for m in range(layout.windows)] == real
    assert not cut[:, ~layout.valid].any()
    assert layout.valid.sum() == np.prod(grid)
    assert layout.is_padded == (not layout.valid.all())


@given(grid=GRIDS, window=WINDOWS)
def test_windowing_clips_and_counts(grid, window):
    layout = W.windowing(grid, window)
    assert layout.window == reference.clip(window, grid)
    assert layout.padded == reference.rounded_up(grid, layout.window)
    assert layout.windows == len(reference.windows(grid, layout.window)) == np.prod(layout.counts)
    assert layout.window_tokens == np.prod(layout.window)
    assert layout.proxy == layout.window
    assert layout.strides == (1, 1, 1)
    assert layout.proxies == layout.windows


@given(grid=GRIDS, window=WINDOWS, strides=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_proxies_are_counted(grid, window, strides):
    window = reference.clip(window, grid)
    ratio = (1, window[1] // strides[0] or 1, window[2] // strides[1] or 1)
    if window[1] % ratio[1] or window[2] % ratio[2]:
        with pytest.raises(ValueError, match=r"proxy_ratio=.*does not divide the window"):
            W.windowing(grid, window, ratio)
        return
    layout = W.windowing(grid, window, ratio)
    assert layout.proxies == len(reference.proxy_groups(grid, window, ratio))
    assert layout.strides == (1, window[1] // ratio[1], window[2] // ratio[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 4, 4), (1, 2)), r"window=\(1, 2\) must be three positive integers"),
        (((1, 4, 4), (1, 0, 2)), r"window=\(1, 0, 2\) must be three positive integers"),
        (((1, 4, 4), (1, 2.5, 2)), r"window=\(1, 2.5, 2\) must be three positive integers"),
        (((0, 4, 4), (1, 2, 2)), r"grid=\(0, 4, 4\) must be three positive integers"),
        (
            ((1, 8, 8), (1, 4, 4), (1, 3, 2)),
            r"proxy_ratio=\(1, 3, 2\) does not divide the window \(1, 4, 4\)",
        ),
        (((1, 8, 8), (1, 4, 4), (2, 2)), r"proxy_ratio=\(2, 2\) must be three positive integers"),
    ],
)
def test_impossible_windows_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        W.windowing(*arguments)


@few_examples
@given(grid=GRIDS, window=WINDOWS)
@example(grid=(4, 6, 6), window=(2, 3, 2))
def test_cyclic_shift_rolls_by_half_a_window_and_back(grid, window):
    layout = W.windowing(grid, window)
    padded, half = layout.padded, [c // 2 for c in layout.window]
    x = numbered(padded)
    cut = W.partition(x, layout.window)
    there = lambda x: W.cyclic_shift(x, layout)  # noqa: E731
    shifted, back = jit(lambda x: (there(x), W.cyclic_shift(there(x), layout, backward=True)))(cut)
    rolled = np.empty_like(x)
    for token in reference.tokens(padded):
        source = tuple((p + s) % size for p, s, size in zip(token, half, padded))
        rolled[(slice(None), *token)] = x[(slice(None), *source)]
    np.testing.assert_array_equal(shifted, W.partition(rolled, layout.window))
    np.testing.assert_array_equal(back, cut)


def allowed_pairs(layout, groups, half):
    """(M, n, n) bool: which real tokens of a (rolled) window share a group; (M, n): where real ones stand."""
    allowed = np.zeros((layout.windows, layout.window_tokens, layout.window_tokens), bool)
    real = np.zeros(allowed.shape[:2], bool)
    slots = {}
    for token in reference.tokens(layout.grid):
        rolled = [(x - s) % size for x, s, size in zip(token, half, layout.padded)]
        m = np.ravel_multi_index([r // c for r, c in zip(rolled, layout.window)], layout.counts)
        slots[token] = m, np.ravel_multi_index([r % c for r, c in zip(rolled, layout.window)], layout.window)
        real[slots[token]] = True
    for group in groups:
        for a, b in itertools.product(group, group):
            assert slots[a][0] == slots[b][0]
            allowed[slots[a][0], slots[a][1], slots[b][1]] = True
    return allowed, real


def mask(regions):
    return None if regions is None else region_mask(regions)


def check_mask(mask, allowed, real):
    """Real tokens see exactly their group; padding sees something, so that no row of the softmax is empty."""
    if mask is None:
        mask = np.ones((allowed.shape[0], 1, *allowed.shape[1:]), bool)
    mask = np.asarray(mask)[:, 0]
    np.testing.assert_array_equal(mask[real], allowed[real])
    assert mask.any(-1).all()


@few_examples
@given(grid=GRIDS, window=WINDOWS)
@example(grid=(1, 4, 4), window=(1, 4, 4))  # the window is the whole axis
@example(grid=(3, 5, 7), window=(1, 3, 5))  # an axis without windows
@example(grid=(5, 5, 5), window=(4, 4, 4))  # padded, its last windows hold more padding than tokens
@example(grid=(4, 8, 8), window=(2, 2, 2))
def test_shifted_mask_is_the_regions(grid, window):
    layout = W.windowing(grid, window)
    half = [c // 2 for c in layout.window]
    groups = reference.shifted_groups(grid, layout.window)
    check_mask(jit(lambda: mask(W.shifted_window_regions(layout)))(), *allowed_pairs(layout, groups, half))


@few_examples
@given(grid=GRIDS, window=WINDOWS)
@example(grid=(5, 5, 5), window=(4, 4, 4))
def test_window_mask_hides_padding(grid, window):
    layout = W.windowing(grid, window)
    groups = reference.windows(grid, layout.window)
    check_mask(jit(lambda: mask(W.window_regions(layout)))(), *allowed_pairs(layout, groups, (0, 0, 0)))


@given(grid=GRIDS, window=WINDOWS)
def test_tokens_of_shifted_windows_were_neighbours_before_the_roll(grid, window):
    """No attention across the edge: allowed tokens are nearer than a window along every axis."""
    window = reference.clip(window, grid)
    for group in reference.shifted_groups(grid, window):
        for a, b in itertools.product(group, group):
            assert all(abs(x - y) < c for x, y, c in zip(a, b, window))


def test_masks_are_left_out_where_nothing_is_hidden():
    assert W.window_regions(W.windowing((2, 4, 6), (1, 2, 3))) is None
    assert W.shifted_window_regions(W.windowing((2, 4, 6), (1, 1, 1))) is None
    assert W.window_regions(W.windowing((2, 4, 5), (1, 2, 3))) is not None
    assert W.shifted_window_regions(W.windowing((2, 4, 6), (1, 2, 3))) is not None


@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention_is_attention_over_lists_of_tokens(shifted):
    """At an odd, padded video size; padding holds garbage."""
    grid, window = (3, 5, 7), (2, 4, 3)
    layout = W.windowing(grid, window)
    make = lambda: W.WindowAttention(16, 2, shifted=shifted, dtype=jnp.float32, rngs=nnx.Rngs(0))  # noqa: E731
    module = tiny.filled(nnx.eval_shape(make))
    x = np.random.default_rng(0).standard_normal((2, *layout.padded, 16)).astype(np.float32)
    attend = jit(lambda module, x: module(x, layout))
    out = np.asarray(W.merge_and_crop(attend(module, W.partition(x, window)), layout))
    p = tiny.numbers(module)["attention"]
    groups = reference.shifted_groups(grid, window) if shifted else reference.windows(grid, window)
    for b, group in itertools.product(range(2), groups):
        inputs = np.stack([x[(b, *token)] for token in group])
        expected = reference.self_attention(p, inputs.astype(np.float64))
        ours = np.stack([out[(b, *token)] for token in group])
        np.testing.assert_allclose(ours, expected, atol=2e-6, rtol=0)
