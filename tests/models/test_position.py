"""Position tables, token by token."""

import numpy as np
import pytest

from ptdit_jax.models.position import positions_2d, positions_3d, sincos, whole_table
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


@pytest.mark.parametrize("base", [4, 16, 64])
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("grid", [(1, 12, 24), (1, 16, 16), (2, 5, 3), (1, 40, 9)])
def test_rescaled_positions(grid, scale, base):
    """PixArt's multi-scale rule, token by token: i / (h / base) / scale, and so for columns."""
    table = positions_2d(grid, 16, scale, base)
    for token in reference.tokens(grid):
        expected = reference.position_2d(token, 16, scale, grid, base)
        np.testing.assert_allclose(table[token], expected, rtol=0, atol=1e-6)
    counted = positions_2d(grid, 16, scale)
    assert np.array_equal(table, counted) == (grid[1:] == (base, base))  # bit for bit at the declared size


def test_rescaled_positions_are_those_of_pixart_and_diffusers():
    """Against a restatement of `get_2d_sincos_pos_embed` with whole arrays, in its float32 grid."""

    def published(width, size, base, scale):
        rows, columns = (np.arange(n, dtype=np.float32) / (n / base) / scale for n in size)
        grid = np.stack(np.meshgrid(columns, rows))  # columns first

        def half(position):
            omega = 1 / 10000 ** (np.arange(width // 4) / (width / 4))
            out = np.einsum("m,d->md", position.reshape(-1), omega)
            return np.concatenate([np.sin(out), np.cos(out)], axis=1)

        return np.concatenate([half(grid[0]), half(grid[1])], axis=1)

    for size, base, scale in (((12, 24), 16, 1), ((64, 64), 64, 2), ((48, 80), 64, 2), ((7, 9), 32, 1)):
        table = positions_2d((1, *size), 48, scale, base).reshape(-1, 48)
        np.testing.assert_allclose(table, published(48, size, base, scale), rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    ("family", "sample_size", "positions", "scale", "base"),
    [
        ("pixart", 32, "rescaled", 1, 16),
        ("pixart", 128, "rescaled", 2, 64),
        ("pixart", 128, "grid", 2, 0),
        ("dit", 32, "grid", 1, 0),
        ("dit", 128, "rescaled", 1, 64),  # as diffusers' DiT, whose declared range is that of its grid
        ("dam", 32, "rescaled", 1, 16),
    ],
)
def test_each_family_rescales_by_its_declared_size(family, sample_size, positions, scale, base):
    fields = {"mediators": (1, 2, 2)} if family == "dam" else {}
    condition = "text" if family == "pixart" else "class"
    fields |= {"family": family, "shift_every": 0, "giim": False, "zero_linears": False, "depth": 1}
    arch = tiny.architecture(condition, sample_size=sample_size, positions=positions, **fields)
    grid = (1, 12, 24)
    table = whole_table(tiny.abstract(arch).position_tables(grid), grid)
    np.testing.assert_array_equal(table, positions_2d(grid, 16, scale, base))
    if (sample_size, positions, family) == (32, "rescaled", "pixart"):
        assert np.abs(table - positions_2d(grid, 16)).max() > 1.8  # how wrong counted positions were there


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
