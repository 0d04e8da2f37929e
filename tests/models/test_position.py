"""Position tables, token by token."""

import numpy as np
import pytest

from ptdit_jax.models.position import positions_2d, positions_3d, sincos
from tests.models import reference, tiny

SIZES = [(1, 4, 4), (1, 3, 5), (3, 7, 2), (2, 1, 6)]


@pytest.mark.parametrize("kind", ["grid", "released"])
@pytest.mark.parametrize("sample_size", [32, 128, 200])
@pytest.mark.parametrize("grid", SIZES)
def test_positions_3d(grid, sample_size, kind):
    table = positions_3d(grid, 32, sample_size, kind)
    assert table.shape == (*grid, 32)
    assert table.dtype == np.float32
    for token in reference.tokens(grid):
        expected = reference.position_3d(token, grid, 32, sample_size, kind)
        np.testing.assert_allclose(table[token], expected, atol=1e-6)


@pytest.mark.parametrize("grid", SIZES)
def test_positions_2d(grid):
    table = positions_2d(grid, 16)
    for token in reference.tokens(grid):
        np.testing.assert_allclose(table[token], reference.position_2d(token, 16), atol=1e-6)


def test_sincos_by_hand():
    np.testing.assert_allclose(
        sincos(4, np.array(3.0)), np.sin([3, 0.03]).tolist() + np.cos([3, 0.03]).tolist()
    )


def test_released_positions_equal_the_right_ones_on_squares_only():
    square, wide = (2, 6, 6), (2, 4, 6)
    np.testing.assert_array_equal(
        positions_3d(square, 16, 32, "grid"), positions_3d(square, 16, 32, "released")
    )
    assert np.abs(positions_3d(wide, 16, 32, "grid") - positions_3d(wide, 16, 32, "released")).max() > 0.1


def test_every_token_of_a_non_square_grid_has_its_own_position():
    for grid in SIZES:
        table = positions_3d(grid, 32, 32, "grid").reshape(-1, 32)
        assert len(np.unique(table.round(6), axis=0)) == len(table)


@pytest.mark.parametrize(("size", "same"), [((1, 8, 8), True), ((1, 6, 8), False)])
def test_the_network_uses_the_positions_that_it_is_told(size, same):
    outputs = []
    for kind in ("grid", "released"):
        arch = tiny.architecture("none", depth=1, shift_every=1, positions=kind)
        x, t, _ = tiny.inputs(arch, size)
        outputs.append(np.asarray(tiny.run(tiny.network(arch), x, t, window=(1, 2, 2))))
    assert (np.abs(outputs[0] - outputs[1]).max() < 1e-6) == same


def test_transposing_the_grid_swaps_the_channels_of_row_and_column():
    table = positions_3d((1, 3, 5), 16, 32)
    transposed = positions_3d((1, 5, 3), 16, 32).swapaxes(1, 2)
    np.testing.assert_array_equal(table[..., 4:10], transposed[..., 10:])
    np.testing.assert_array_equal(table[..., 10:], transposed[..., 4:10])
