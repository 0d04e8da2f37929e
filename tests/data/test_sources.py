"""The embedded sources: real digits and their moving videos."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from configs import common
from data_pipelines import captions, open_source
from data_pipelines.sources import DIGIT_SIDE, MovingDigits, digit_scans


def data_config(**fields):
    config = common.get_config()
    config.data.update(fields)
    return config.data


def test_digits_are_scikit_learns_scaled_to_the_unit_interval():
    source = open_source(data_config(name="digits", height=8, width=8))
    raw = load_digits()
    assert len(source) == 1797
    for record in (0, 5, 1796):
        sample = source[record]
        np.testing.assert_array_equal((sample["x"][0, 0] + 1) * 8, raw.images[record])
        assert sample["label"] == raw.target[record]
        assert sample["x"].dtype == np.float32
        assert sample["label"].dtype == np.int32
    scans, labels = digit_scans()
    assert scans.min() == -1
    assert scans.max() == 1
    assert set(labels.tolist()) == set(range(source.classes))


def test_captioned_digits_have_every_scan_with_every_phrasing():
    source = open_source(data_config(name="captioned_digits", height=8, width=8))
    plain = open_source(data_config(name="digits", height=8, width=8))
    phrasings = len(captions.PHRASES)
    assert len(source) == 1797 * phrasings
    for scan in (0, 3, 1796):
        found = set()
        for record in range(scan, len(source), 1797):
            sample = source[record]
            np.testing.assert_array_equal(sample["x"], plain[scan]["x"])
            codes = sample["text"][:-1, :256].argmax(1)
            found.add(bytes(codes.tolist()).decode())
        assert found == {captions.digit_caption(plain[scan]["label"], phrase) for phrase in range(phrasings)}
    np.testing.assert_array_equal(source.text.null, captions.encode(""))
    assert np.bincount([source[i]["label"] for i in range(20)]).tolist() == [2] * 10  # those that are judged


def test_enlarged_digits_are_linear_between_the_centres_of_pixels():
    scans, _ = digit_scans()
    source = open_source(data_config(name="digits", height=16, width=16))
    assert source.shape == (1, 1, 16, 16)
    x = source[5]["x"][0, 0]
    assert x.dtype == np.float32
    row = scans[5][0] * 0.75 + scans[5][1] * 0.25  # a quarter of a pixel below the centre of the first row
    np.testing.assert_allclose(x[1, 1::2][:-1], row[:-1] * 0.75 + row[1:] * 0.25, atol=1e-6)
    np.testing.assert_allclose(x[0, 0], scans[5][0, 0], atol=1e-6)


@pytest.mark.parametrize("fields", [{"height": 16}, {"width": 4}, {"frames": 2}])
def test_digits_have_few_sizes(fields):
    with pytest.raises(ValueError, match=r"data\.frames, data\.height, data\.width = .*\(1, 8, 8\)"):
        open_source(data_config(**(dict(name="digits", height=8, width=8) | fields)))


def find_scan(frame, scan):
    """The one place (row, column) where a frame is the scan on an empty canvas."""
    height, width = frame.shape
    found = []
    for row in range(height - DIGIT_SIDE + 1):
        for column in range(width - DIGIT_SIDE + 1):
            canvas = np.full((height, width), -1, np.float32)
            canvas[row : row + DIGIT_SIDE, column : column + DIGIT_SIDE] = scan
            if (canvas == frame).all():
                found.append((row, column))
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(("height", "width"), [(16, 16), (9, 30)])
@pytest.mark.parametrize("record", [0, 77, 1797 + 4, 14375])
def test_moving_digit_is_the_scan_on_a_bouncing_path(record, height, width):
    frames = 40
    source = MovingDigits(frames, height, width)
    sample = source[record]
    scans, labels = digit_scans()
    assert sample["x"].shape == (1, frames, height, width)
    assert sample["x"].dtype == np.float32
    assert sample["label"] == labels[record % 1797]
    places = np.array([find_scan(frame, scans[record % 1797]) for frame in sample["x"][0]])

    # The same path by small steps that turn round at the border.
    rng = np.random.default_rng(record)
    span = np.array([height, width]) - DIGIT_SIDE
    position = rng.uniform(0, span)
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*MovingDigits.SPEEDS)
    velocity = speed * np.array([np.sin(angle), np.cos(angle)])
    for place in places:
        assert (abs(place - position) <= 0.5 + 1e-6).all()
        position = position + velocity
        for axis in range(2):
            while not 0 <= position[axis] <= span[axis]:
                border = 0 if position[axis] < 0 else span[axis]
                position[axis] = 2 * border - position[axis]
                velocity[axis] *= -1
    assert (places.max(axis=0) > places.min(axis=0)).any()  # it does move


def test_moving_digits_are_the_same_in_every_process():
    a, b = MovingDigits(4, 12, 12), MovingDigits(4, 12, 12)
    for record in (3, 3 + 1797):
        np.testing.assert_array_equal(a[record]["x"], b[record]["x"])
    assert (a[3]["x"] != a[3 + 1797]["x"]).any()  # the same scan on another path
    assert a[3]["label"] == a[3 + 1797]["label"]


def test_moving_digit_on_a_canvas_of_its_own_size_stands_still():
    scans, _ = digit_scans()
    for frame in MovingDigits(5, 8, 8)[11]["x"][0]:
        np.testing.assert_array_equal(frame, scans[11])


def test_moving_digits_need_room():
    with pytest.raises(ValueError, match=r"data\.height.*\(16, 7, 16\).*at least \(1, 8, 8\)"):
        open_source(data_config(name="moving_digits", frames=16, height=7, width=16))
