"""Signals, samples of one frame and one row, are drawn as curves."""

import numpy as np
from PIL import Image

from ptdit_jax import plots


def test_a_signal_is_a_curve_high_values_at_the_top(tmp_path):
    rising = np.linspace(-1, 1, 64).reshape(1, 1, 1, 1, 64)
    plots.sample_grid(np.concatenate([rising, -rising]), None, tmp_path / "s.png", columns=2)
    page = np.asarray(Image.open(tmp_path / "s.png")).astype(int)
    height, width = plots.TILE, 63 * 2 + 1  # two pixels between the samples
    gap = (page.shape[1] - 2 * width) // 3
    assert page.shape == (height + 2 * gap, 2 * width + 3 * gap)
    first = page[gap : gap + height, gap : gap + width]
    second = page[gap : gap + height, 2 * gap + width : 2 * (gap + width)]
    assert first[-1, 0] == first[0, -1] == second[0, 0] == second[-1, -1] == 0  # ink at both ends
    assert (first == 0).any(axis=0).all()  # without gaps
    assert (
        np.array_equal(first[::-1] == 0, second == 0) or np.mean((first[::-1] == 0) != (second == 0)) < 0.05
    )
