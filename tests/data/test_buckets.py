"""Buckets of whole windows, and which one a picture belongs to."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import common
from data_pipelines.buckets import bucket_shapes, nearest, window_grids
from ptdit_jax import config as rules

GRIDS = [(8, 8), (7, 9), (9, 7), (6, 11), (11, 6), (5, 13), (13, 5), (4, 16), (16, 4)]


def test_grids_are_those_of_64_windows():
    assert window_grids() == GRIDS


@pytest.mark.parametrize(("side", "window"), [(32, 2), (64, 4), (128, 8), (256, 16)])
def test_no_bucket_of_a_resolution_needs_padding(side, window):
    config = common.get_config()
    shapes = bucket_shapes(window=(window, window), patch=config.model.patch)
    assert shapes[0] == (side, side)
    for (height, width), grid in zip(shapes, GRIDS, strict=True):
        _, layout = rules.layout(config, height=height, width=width)
        assert layout.window == (1, window, window)
        assert layout.counts[1:] == grid
        assert layout.padded == layout.grid


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_nearest_is_that_of_the_least_difference_of_aspects(height, width):
    shapes = bucket_shapes()
    distance = {shape: abs(math.log(shape[0] * width) - math.log(shape[1] * height)) for shape in shapes}
    assert distance[nearest(shapes, height, width)] <= min(distance.values()) + 1e-12


def test_pictures_and_their_transposes_lie_in_transposed_buckets():
    shapes = bucket_shapes()
    assert nearest(shapes, 512, 512) == (32, 32)
    assert nearest(shapes, 1080, 1920) == (24, 44)
    assert nearest(shapes, 1920, 1080) == (44, 24)
    assert nearest(shapes, 10, 1000) == (16, 64)


@pytest.mark.parametrize("arguments", [(0, (2, 2), 2), (64, (0, 2), 2), (64, (2, 2), 0)])
def test_impossible_windows_are_refused(arguments):
    with pytest.raises(ValueError, match="must be at least 1"):
        bucket_shapes(*arguments)
    with pytest.raises(ValueError, match="must be at least 1"):
        nearest([], 1, 1)
