"""How alike attention is, against loops over pairs and keys, and where the answer is known."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from ptdit_jax.analyze.regions import regions
from ptdit_jax.analyze.similarity import attention_rows, redundancy, similarity, window_maps

GRID, WINDOW = (1, 4, 6), (1, 2, 2)


@functools.cache
def compiled():
    """The figures of queries and keys on GRID, compiled once."""
    where = regions(GRID, WINDOW)
    return jax.jit(lambda q, k: redundancy(q, k, where))


def queries(seed=0, batch=2, tokens=24, heads=3, width=5):
    draw = np.random.default_rng(seed).standard_normal
    return (2 * draw((2, batch, tokens, heads, width))).astype(np.float32)


def by_hand(grid, window):
    """Tokens and near keys of every window, coordinate by coordinate."""
    places = list(itertools.product(*map(range, grid)))
    tokens, near = [], []
    for corner in itertools.product(*(range(0, s, c) for s, c in zip(grid, window))):
        inside = [all(a <= x < a + c for x, a, c in zip(p, corner, window)) for p in places]
        close = [all(a - c // 2 <= x < a + c + c // 2 for x, a, c in zip(p, corner, window)) for p in places]
        tokens.append(np.flatnonzero(inside))
        near.append(close)
    return np.array(tokens), np.array(near)


@pytest.mark.parametrize(("grid", "window"), [(GRID, WINDOW), ((4, 6, 6), (2, 3, 2)), ((1, 6, 6), (1, 1, 3))])
def test_regions_are_those_by_hand(grid, window):
    found = regions(grid, window, seed=3)
    tokens, near = by_hand(grid, window)
    np.testing.assert_array_equal(found.tokens, tokens)
    np.testing.assert_array_equal(found.near, near)
    assert len(found.pairs) == len(tokens)
    for one, other in found.pairs:
        assert one != other
        assert (~near[one] & ~near[other]).any()
    middle = found.tokens[found.middle]
    assert np.abs(np.array(np.unravel_index(middle, grid)).mean(1) - (np.array(grid) - 1) / 2).max() <= 1.5


def test_pairs_depend_on_the_seed_alone():
    one, again, other = (regions((1, 8, 8), (1, 2, 2), seed=seed).pairs for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("grid", "window", "line"),
    [
        ((1, 4, 6), (1, 2, 4), r"--window=1,2,4 must divide the grid of \(1, 4, 6\) tokens"),
        ((1, 4, 6), (1, 1, 1), "--window=1,1,1 is one token"),
        ((1, 4, 6), (1, 4, 6), "leaves no key"),
        ((1, 4, 8), (1, 4, 4), "must be smaller"),
    ],
)
def test_windows_that_cannot_be_compared_are_one_line(grid, window, line):
    with pytest.raises(ValueError, match=line) as caught:
        regions(grid, window)
    assert "\n" not in str(caught.value)


def brute_force(q, k, where):
    """Every figure of every sample, pair by pair and head by head."""
    sums = {}

    def add(name, sample, p, q):
        cosine = p @ q / np.sqrt((p @ p) * (q @ q))
        sums.setdefault(name, {}).setdefault(sample, []).append((cosine, 1 - np.abs(p - q).sum() / 2))

    shares = np.zeros((len(q), 0)).tolist()
    for b, h in itertools.product(range(q.shape[0]), range(q.shape[2])):
        scores = q[b, :, h].astype(np.float64) @ k[b, :, h].T / np.sqrt(q.shape[-1])
        for window, near in zip(where.tokens, where.near):
            for i in window:
                shares[b].append(softmax(scores[i])[~near].sum())
            for i, j in itertools.combinations(window, 2):
                for name, keys in (("same_far", ~near), ("same_near", near)):
                    add(name, b, softmax(scores[i, keys]), softmax(scores[j, keys]))
        for one, other in where.pairs:
            far = ~where.near[one] & ~where.near[other]
            for i, j in itertools.product(where.tokens[one], where.tokens[other]):
                for name, keys in (("other_far", far), ("other_near", ~far)):
                    add(name, b, softmax(scores[i, keys]), softmax(scores[j, keys]))
    means = {name: np.array([np.mean(of[b], axis=0) for b in range(len(q))]) for name, of in sums.items()}
    return means, np.mean(shares, axis=1)


def test_figures_are_those_of_loops_over_pairs():
    q, k = queries()
    where = regions(GRID, WINDOW)
    found = compiled()(q, k)
    means, shares = brute_force(q, k, where)
    for name, expected in means.items():
        figures = getattr(found, name)
        np.testing.assert_allclose(figures.cosine, expected[:, 0], atol=1e-5, err_msg=name)
        np.testing.assert_allclose(figures.overlap, expected[:, 1], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(found.far_share, shares, atol=1e-6)
    assert np.ptp(means["same_far"]) > 0.01  # samples and figures differ, or nothing was compared


def test_tokens_with_one_query_attend_alike_and_windows_of_others_do_not():
    q, k = queries()
    where = regions(GRID, WINDOW)
    one_a_window = q.copy()
    for window in where.tokens:
        one_a_window[:, window] = q[:, window[:1]]
    found = compiled()(one_a_window, k)
    for figures in (found.same_far, found.same_near):
        np.testing.assert_allclose(figures.cosine, 1, atol=1e-6)
        np.testing.assert_allclose(figures.overlap, 1, atol=1e-6)
    assert (found.other_far.cosine < 0.9).all()
    everywhere = compiled()(np.broadcast_to(q[:, :1], q.shape), k)
    np.testing.assert_allclose(everywhere.other_far.overlap, 1, atol=1e-6)


def test_similarity_of_known_rows():
    p = jnp.array([[[[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]]]])
    for figures in (similarity(p, p, is_same=True), similarity(p, p[..., ::-1, :], is_same=True)):
        assert figures.cosine.shape == (1,)
    np.testing.assert_allclose(similarity(p, p, is_same=True), 0.5, rtol=1e-6)
    np.testing.assert_allclose(
        similarity(p, p, is_same=False), 0.75, rtol=1e-6
    )  # half of these pairs are equal rows
    np.testing.assert_allclose(
        similarity(p, jnp.eye(4)[None, None, 2:], is_same=False).overlap, 0.125, rtol=1e-6
    )


def test_rows_over_few_keys_are_the_attention_among_them_however_small_it_is():
    scores = jnp.array([[200.0, 0.0, 1.0]])
    rows = attention_rows(scores, jnp.array([False, True, True]))
    np.testing.assert_allclose(rows, [[0, *softmax([0.0, 1.0])]], rtol=1e-6)


def test_maps_are_the_mean_attention_of_the_first_sample():
    q, k = queries()
    maps = window_maps(q, k, np.array([3, 7]))
    scores = np.einsum("qhd,khd->hqk", q[0, [3, 7]], k[0]) / np.sqrt(5)
    np.testing.assert_allclose(maps, softmax(scores, axis=-1).mean(axis=0), atol=1e-6)
