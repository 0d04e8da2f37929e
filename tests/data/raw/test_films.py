"""Films: the frames that a decoder from the start would give, found without decoding from the start."""

import io
import struct

import av
import numpy as np
import pytest

from data_pipelines.raw import RawRecord, Unusable, decode, measure
from data_pipelines.raw.films import _Frames, count, numbered
from data_pipelines.raw.media import Held
from tests.data.raw.media import film, frames, number_of

RNG = np.random.default_rng(4)
UNEVEN = [0, *np.cumsum(RNG.integers(20, 900, 23)).tolist()]
MAKERS = {
    "mp4": lambda f: film(f),
    "mp4 of uneven times": lambda f: film(f, times=UNEVEN),
    "mp4 that starts late": lambda f: film(f, times=[5000 + 125 * k for k in range(24)]),
    "webm": lambda f: film(f, "webm", "libvpx-vp9"),
    "webm of uneven times": lambda f: film(f, "webm", "libvpx-vp9", times=UNEVEN),
    "mkv": lambda f: film(f, "matroska", "ffv1"),
    "avi": lambda f: film(f, "avi", "mpeg4"),
    "ts": lambda f: film(f, "mpegts"),
    "gif": lambda f: film(f, "gif", "gif"),
}


@pytest.fixture(scope="module")
def films():
    return {name: make(frames()) for name, make in MAKERS.items()}


def record(content):
    return RawRecord("key", "video", (Held(content),))


def from_the_start(content):
    """(seconds from the first, pixels) of every frame, in the order in which they are shown, and seconds of a tick."""
    with av.open(io.BytesIO(content)) as container:
        tick = float(container.streams.video[0].time_base)
        found = [(f.pts * f.time_base, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    return [(float(seconds - found[0][0]), pixels) for seconds, pixels in found], tick


def shown_at(found, tick, seconds):
    return max((k for k, (time, _) in enumerate(found) if time <= seconds + tick / 2), default=0)


@pytest.mark.parametrize("name", MAKERS)
def test_frames_are_those_of_a_decoder_from_the_start(films, name):
    found, tick = from_the_start(films[name])
    assert [number_of(pixels) for _, pixels in found] == list(range(24))
    end = found[-1][0]
    for _ in range(6):
        start = float(RNG.uniform(0, 0.6 * end))
        first = shown_at(found, tick, start)
        stride = int(RNG.integers(1, 4))
        count = int(RNG.integers(1, (23 - first) // stride + 2))
        made = decode(record(films[name]), frames=count, stride=stride, start=start)
        np.testing.assert_array_equal(made, [found[first + k * stride][1] for k in range(count)])
        count = int(RNG.integers(2, 6))
        fps = float((count - 1) / RNG.uniform(0.3 * (end - start), 0.95 * (end - start)))
        wanted = [shown_at(found, tick, start + k / fps) for k in range(count)]
        if 2 * len(set(wanted)) < count:
            continue
        made = decode(record(films[name]), frames=count, fps=fps, start=start)
        assert [number_of(frame) for frame in made] == wanted


def test_what_lies_late_is_sought(monkeypatch):
    content = film(np.concatenate([frames()] * 10), gop=12)  # 30 seconds
    counts = []
    decoded = _Frames._decoded

    def counting(self):
        for frame in decoded(self):
            counts.append(frame.pts)
            yield frame

    monkeypatch.setattr(_Frames, "_decoded", counting)
    assert [number_of(f) for f in decode(record(content), frames=2, start=28.0)] == [8, 9]
    assert len(counts) < 30
    counts.clear()
    made = decode(record(content), frames=4, fps=0.125)  # one frame in 8 seconds
    assert [number_of(f) for f in made] == [0, 16, 8, 0]
    assert len(counts) < 100
    counts.clear()
    assert [number_of(f) for f in decode(record(content), frames=3, start="middle")] == [23, 0, 1]
    assert len(counts) < 30


def test_display_matrix_sets_upright():
    flat = frames(6, 32).copy()
    flat[:, :8] = 250  # the first rows are bright
    content = bytearray(film(flat))
    place = content.index(b"tkhd")
    matrix = content.index(struct.pack(">iii", 0x10000, 0, 0), place)
    # QuickTime: (x, y) becomes (a x + c y + tx, b x + d y + ty); this one is of a telephone that is held upright
    struct.pack_into(">iiiiii", content, matrix, 0, 0x10000, 0, -0x10000, 0, 0)
    made = decode(record(bytes(content)), frames=2)
    assert made[0, :, -6:].mean() > 200  # what was above is at the right
    assert made[0, :, :20].mean() < 100
    wide = film(np.concatenate([flat, flat], axis=2), rotation=90)
    assert measure(record(wide)) == (64, 32)
    assert decode(record(wide)).shape == (1, 64, 32, 3)


@pytest.mark.parametrize("name", MAKERS)
def test_frames_by_their_numbers_are_those_of_a_decoder_from_the_start(films, name):
    found, _ = from_the_start(films[name])
    assert count(io.BytesIO(films[name])) == 24
    for wanted in (range(1), range(3, 20, 4), range(20, 40)):
        pixels = numbered(io.BytesIO(films[name]), wanted)
        assert [number_of(each) for each in pixels] == [k for k in wanted if k < 24]
        for each, k in zip(pixels, wanted):
            np.testing.assert_array_equal(each, found[k][1])


@pytest.mark.parametrize("read", [count, lambda file: numbered(file, range(2))])
def test_no_film_has_no_numbers(read):
    with pytest.raises(Unusable, match="not_a_video: is text"):
        read(io.BytesIO(b"no film"))


def test_pixels_that_are_not_square_become_so():
    bright = frames(3).copy()
    bright[:, :, :32] = 250
    content = record(film(bright, ratio=2))
    assert measure(content) == (64, 128)
    made = decode(content)
    assert made.shape == (1, 64, 128, 3)
    assert made[0, :, :60].mean() > 200 > 100 > made[0, :, 68:].mean()


def test_short_and_slow_films_are_refused(films):
    with pytest.raises(Unusable, match="short_video: has 24 frames"):
        decode(record(films["mp4"]), frames=25)
    with pytest.raises(Unusable, match="short_video: has 12 frames from there on; 13 are wanted"):
        decode(record(films["mp4"]), frames=13, start=1.5)
    with pytest.raises(Unusable, match="short_video: ends at"):
        decode(record(films["mp4"]), frames=9, fps=2.0)
    with pytest.raises(Unusable, match="short_video"):
        decode(record(films["mp4"]), start=60.0)
    assert len(decode(record(films["mp4"]), frames=16, fps=16.0)) == 16  # each of 8 twice
    with pytest.raises(Unusable, match="slow_video: has 4 frames in the time of 16 at 32 a second"):
        decode(record(films["mp4"]), frames=16, fps=32.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frames": 0}, "frames=0 must be 1 or more"),
        ({"fps": -1.0}, "fps=-1"),
        ({"fps": float("nan")}, "fps=nan"),
        ({"stride": 0}, "stride=0"),
        ({"start": "end"}, "start='end' must be seconds"),
        ({"start": -1.0}, "start=-1"),
        ({"fps": 8.0, "stride": 2}, "give one of them"),
    ],
)
def test_wrong_arguments_are_named(films, wrong, message):
    with pytest.raises(ValueError, match=message):
        decode(record(films["mp4"]), **wrong)


def test_limits_are_asked_before_decoding(films):
    with pytest.raises(Unusable, match="too_large"):
        decode(record(films["mp4"]), max_pixels=64 * 64 - 1)
    with pytest.raises(Unusable, match="too_small"):
        decode(record(films["mp4"]), min_side=65)
