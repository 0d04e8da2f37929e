"""The lattice of windows in pictures: against loops over neighbours, and where it was planted."""

import numpy as np
import pytest

from ptdit_jax.analyze.borders import folded_gradient, lattice


def noise(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def steps(size, period, inside, border):
    """Values along an axis that rise by `inside`, and by `border` across every border of a window."""
    rises = [border if place % period == 0 else inside for place in range(1, size)]
    return np.concatenate([[0.0], np.cumsum(rises)])


def planted(height, width, window, inside, border):
    """A picture that changes by known amounts in both directions."""
    rows, columns = (steps(s, p, inside, border) for s, p in zip((height, width), window, strict=True))
    return (rows[:, None] + columns)[None, None, None].astype(np.float32)


def test_a_planted_lattice_has_its_ratio():
    picture = planted(12, 8, (4, 2), inside=0.5, border=1.5)
    found = lattice(np.concatenate([picture, -picture]), (4, 2), (2, 1))
    np.testing.assert_allclose(found, [9, 9, 9, 9], rtol=1e-5)
    flat = planted(12, 8, (4, 2), inside=0.5, border=0.5)
    np.testing.assert_allclose(lattice(flat, (4, 2), (2, 1)), 1, rtol=1e-5)


def test_a_lattice_of_patches_is_told_from_one_of_windows():
    picture = planted(8, 8, (2, 2), inside=0.1, border=0.3)  # at every border of a token of 2x2
    found = lattice(picture, (4, 4), (2, 2))
    assert found.mean > 1.5
    np.testing.assert_allclose(found.tokens, 1, rtol=1e-5)


def test_ratios_are_those_of_loops_over_neighbours():
    x, window, token = noise(3, 2, 2, 9, 12), (4, 6), (2, 3)
    energy = {"vertical": {True: [], False: []}, "horizontal": {True: [], False: []}}
    inner = {"vertical": [], "horizontal": []}
    for r in range(9):
        for c in range(12):
            for name, (i, j), at, side in (("vertical", (r + 1, c), r, 0), ("horizontal", (r, c + 1), c, 1)):
                if i < 9 and j < 12:
                    square = np.mean((x[..., i, j].astype(np.float64) - x[..., r, c]) ** 2)
                    is_border = (at + 1) % window[side] == 0
                    energy[name][is_border].append(square)
                    if (at + 1) % token[side] == 0 and not is_border:
                        inner[name].append(square)
    found = lattice(x, window, token)
    ratios = {name: np.mean(kinds[True]) / np.mean(kinds[False]) for name, kinds in energy.items()}
    tokens = [np.mean(energy[name][True]) / np.mean(inner[name]) for name in energy]
    assert found.vertical == pytest.approx(ratios["vertical"], rel=1e-9)
    assert found.horizontal == pytest.approx(ratios["horizontal"], rel=1e-9)
    assert found.mean == pytest.approx(np.mean(list(ratios.values())), rel=1e-9)
    assert found.tokens == pytest.approx(np.mean(tokens), rel=1e-9)


def test_one_direction_is_enough():
    found = lattice(noise(2, 1, 1, 4, 8), (4, 4), (4, 4))
    assert np.isnan(found.vertical)
    assert found.mean == found.horizontal
    assert np.isnan(found.tokens)  # a window is a token: there are no other borders


@pytest.mark.parametrize("window", [(8, 8), (1, 1)])
def test_windows_without_borders_or_insides_are_one_line(window):
    with pytest.raises(
        ValueError, match=f"windows of {window[0]}x{window[1]} cells have no borders with"
    ) as caught:
        lattice(noise(1, 1, 1, 8, 8), window, (1, 1))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="constant"):
        lattice(np.ones((1, 1, 1, 8, 8)), (2, 2), (1, 1))


def test_folded_gradients_are_those_of_loops():
    x, (p, q) = noise(3, 2, 2, 8, 9), (4, 3)
    expected = np.zeros((p, q))
    for i in range(p):
        for j in range(q):
            down = [
                np.abs(x[..., r + 1, c] - x[..., r, c]).mean() for r in range(i, 7, p) for c in range(j, 9, q)
            ]
            right = [
                np.abs(x[..., r, c + 1] - x[..., r, c]).mean() for r in range(i, 8, p) for c in range(j, 8, q)
            ]
            expected[i, j] = (np.mean(down) + np.mean(right)) / 2
    np.testing.assert_allclose(folded_gradient(x, (p, q)), expected, rtol=1e-5)


def test_a_planted_lattice_is_in_the_last_row_and_column():
    folded = folded_gradient(planted(12, 12, (4, 4), inside=0.5, border=1.5), (4, 4))
    np.testing.assert_allclose(folded[:-1, :-1], 0.5, rtol=1e-5)
    np.testing.assert_allclose([folded[-1, 0], folded[0, -1], folded[-1, -1]], [1, 1, 1.5], rtol=1e-5)
