"""What the numbers of records mean, by their dtype and range."""

import importlib
import re

import numpy as np
import pytest

from configs import common
from data_pipelines import open_source, values
from data_pipelines.folders import ArrayFolder

DATA = common.get_config().data
RNG = np.random.default_rng(0)


class Records(list):
    """A source of these samples."""

    @property
    def shape(self):
        """Of every record."""
        return self[0]["x"].shape


def records(x):
    return Records({"x": one} for one in x)


def normal(mean=0.0, deviation=1.0, count=200):
    return RNG.normal(mean, deviation, (count, 4, 1, 8, 8)).astype(np.float32)


def test_the_figures_are_those_of_records_spread_over_the_source():
    x = normal(count=1000) + np.linspace(0, 1, 1000)[:, None, None, None, None]
    found = values.look(DATA, records(x))
    some = x[np.linspace(0, 999, 64).astype(int)]
    assert found.records == 64
    figures = (found.mean, found.deviation, found.low, found.high)
    np.testing.assert_allclose(figures, (some.mean(), some.std(), some.min(), some.max()), rtol=1e-6)
    assert found.line(pixels=False).startswith(f"data: mean {some.mean():.3g}, ")
    assert "about 0 and 1 are expected" in found.line(pixels=False)
    assert "[-1, 1]" in found.line(pixels=True)


@pytest.mark.parametrize(
    ("x", "pixels", "warning"),
    [
        (normal(), False, None),
        (normal(0.5, 0.5), False, None),
        (normal(0, 4.5), False, "mean .* and deviation 4.* are far from 0 and 1"),  # unscaled latents of SD
        (normal(3, 1), False, "are far from 0 and 1"),
        (normal(0, 0.01), False, "are far from 0 and 1"),
        (RNG.uniform(-1, 1, (70, 3, 1, 8, 8)), True, None),
        (RNG.uniform(0, 1, (70, 3, 1, 8, 8)), True, r"no value is negative .*2x - 1"),
        (RNG.uniform(-1, 1.5, (70, 3, 1, 8, 8)), True, r"pixels from .*; they are expected in \[-1, 1\]"),
        (RNG.uniform(-1, -0.99, (70, 3, 1, 8, 8)), True, r"pixels from .* hardly differ"),
        (RNG.uniform(-1, -0.7, (70, 3, 1, 8, 8)), True, None),  # dark, but pixels
    ],
)
def test_bounds(x, pixels, warning):
    found = values.look(DATA, records(x)).warning(pixels=pixels)
    if warning is None:
        assert found is None
    else:
        assert found is not None
        assert re.search(warning, found), found


def test_floats_of_0_to_255_are_refused():
    x = RNG.integers(0, 200, (5, 3, 1, 8, 8)).astype(np.float32)
    x[3, 0, 0, 0, :2] = 0, 255
    with pytest.raises(
        ValueError,
        match=r"the floats of 5 records go from 0 to 255 \(record 3\), like pixels of 0\.\.255; store",
    ):
        values.look(DATA, records(x))


def test_records_that_are_not_finite_are_told_and_left_out():
    x = normal(count=10)
    x[3, 0, 0, 0, 0], x[7, 0, 0, 0, 0] = np.nan, np.inf
    found = values.look(DATA, records(x))
    assert (found.records, found.not_finite) == (8, (3, 7))
    assert np.isfinite(found.mean)
    text = np.array([[0], [0x7FC0]], np.uint16)  # the second is a NaN of bfloat16
    source = Records({"x": one, "text": text} for one in x[:4])
    assert values.not_finite(source, [0, 1, 3], states=2) == [0, 1, 3]
    assert values.not_finite(source, [0, 1, 3], states=1) == [3]  # what is cut off does no harm
    assert values.not_finite(source, [0, 1, 3]) == [3]
    with pytest.raises(ValueError, match="all of 2 records have values that are not finite"):
        values.look(DATA, records(np.full((2, 1, 1, 1, 1), np.nan)))


def test_few_records_are_looked_at_where_they_are_large(monkeypatch):
    monkeypatch.setattr(values, "AT_MOST", 256 * 11)
    assert values.look(DATA, records(normal(count=100))).records == 11
    monkeypatch.setattr(values, "AT_MOST", 1)
    assert values.look(DATA, records(normal(count=100))).records == 8


@pytest.mark.parametrize("name", ["c2i_digits", "t2i_digits", "video_digits"])
def test_the_data_of_this_project_need_no_warning(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    states = config.model.text_length if config.model.condition == "text" else 0
    found = values.look(config.data, open_source(config.data), states=states)
    assert found.warning(pixels=True) is None


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16, np.bool_, np.complex64])
def test_a_dtype_that_cannot_be_meant_is_refused(tmp_path, dtype):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3, 4, 4), dtype))
    with pytest.raises(
        ValueError, match=rf"a\.npz: 'x' has dtype {np.dtype(dtype)}, must be a float .* or uint8"
    ):
        ArrayFolder(str(tmp_path))


def test_pixels_and_floats_do_not_go_together(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((2, 3, 4, 4), np.uint8))
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 3, 4, 4), np.float32))
    with pytest.raises(ValueError, match=r"records of b\.npz are float32, those of a\.npz uint8: pixels"):
        ArrayFolder(str(tmp_path))
