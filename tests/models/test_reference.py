"""The numpy reference that other tests compare with is itself the released module."""

import numpy as np
import pytest

from tests.models import reference, tiny
from tests.models.golden import Golden


@pytest.mark.parametrize("name", ["image_w122", "masked_w144_p122", "video_w422"])
def test_reference_matches_the_released_outputs(name):
    golden = Golden(name)
    x, t, (text, mask) = (
        np.asarray(a, np.float64) if not isinstance(a, tuple) else a for a in golden.inputs()
    )
    p = tiny.numbers(golden.model)
    window, ratio = golden.call["window"], golden.call["proxy_ratio"]
    out = reference.network(golden.arch, p, x, t, (text, mask), window=window, ratio=ratio)
    np.testing.assert_allclose(out, golden.arrays["output_per_sample"], atol=1e-4, rtol=0)


def test_regions_of_a_small_axis_by_hand():
    """Five tokens, windows of two, padded to six: rolled by one they pair up, and the edge is not crossed."""
    groups = [[token[2] for token in group] for group in reference.shifted_groups((1, 1, 5), (1, 1, 2))]
    assert sorted(groups) == [[0], [1, 2], [3, 4]]


def test_proxies_of_a_small_window_by_hand():
    """One window of 2x4 with two proxies along the row: every other column."""
    groups = [
        [token[1:] for token in group] for group in reference.proxy_groups((1, 2, 4), (1, 2, 4), (1, 2, 2))
    ]
    assert groups == [[(0, 0), (0, 2), (1, 0), (1, 2)], [(0, 1), (0, 3), (1, 1), (1, 3)]]
