"""Maps of numbers are drawn in colours that mean the same along a row, or everywhere."""

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from ptdit_jax import plots


def shows(path, value):
    """How many pixels have the colour of a share of the scale."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    colour = np.round(255 * np.array(colormaps["magma"](value)[:3]))
    return int((np.abs(pixels - colour).max(axis=1) <= 1).sum())


@pytest.mark.parametrize(("shared", "share"), [(True, 0.25), (False, 1.0)])
def test_a_scale_is_of_a_row_or_of_all(tmp_path, shared, share):
    rows = [[np.full((2, 3), 4.0), np.full((2, 3), 2.0)], [np.full((2, 3), 1.0)]]
    path = tmp_path / "a.png"
    plots.heat_maps(rows, path, row_names="ab", column_names="cd", shared=shared, box=(0, 1, 1, 2), note="e")
    area = shows(path, 0.5)  # of one map: the second one of the first row
    assert area > 3000
    others = [shows(path, 0.25), shows(path, 1.0)]
    expected = [area, area] if share == 0.25 else [0, 2 * area]
    np.testing.assert_allclose(others, expected, atol=area / 5)


def test_small_values_show_by_their_root(tmp_path):
    path = tmp_path / "a.png"
    for gamma in (1.0, 0.5):
        plots.heat_maps([[np.array([[1.0, 0.01]])]], path, row_names="a", column_names="b", gamma=gamma)
        assert shows(path, 0.01**gamma) > 1000  # half of the map
