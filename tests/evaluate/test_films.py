"""Films to be judged, from videos and from arrays: the frames that are seen, and what is wrong with a file."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from ptdit_jax.evaluation import films
from ptdit_jax.evaluation.clips import Clips
from tests.data.raw.media import film, frames, number_of

FORMATS = {
    "a.mp4": lambda shown: film(shown),
    "b.webm": lambda shown: film(shown, "webm", "libvpx-vp9"),
    "c.avi": lambda shown: film(shown, "avi", "mpeg4"),
    "d.MKV": lambda shown: film(shown, "matroska", "ffv1"),
    "e.gif": lambda shown: film(shown, "gif", "gif"),
    "f/g.mov": lambda shown: film(shown, "mov"),
}


def side(**options):
    """The options of films that are judged."""
    return Clips(**options).side(reference=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Films of 24, 23, ... frames in every format, one in a folder below."""
    place = tmp_path_factory.mktemp("films")
    (place / "f").mkdir()
    (place / "notes.txt").write_text("no film")
    for index, (name, make) in enumerate(FORMATS.items()):
        (place / name).write_bytes(make(frames(24 - index, 32)))
    return place


@pytest.fixture(scope="module")
def array(tmp_path_factory):
    """An .npz of 5 films of 20 frames of 6x8 pixels: pixel [f, h, w, c] of film n is 40 n + f."""
    path = tmp_path_factory.mktemp("array") / "films.npz"
    values = (40 * np.arange(5)[:, None] + np.arange(20)).astype(np.uint8)
    np.savez(path, arr_0=np.broadcast_to(values[..., None, None, None], (5, 20, 6, 8, 3)))
    return path


def clips_of(found, options):
    """The clips of the films that are taken."""
    return [found.clip(number, options) for number in options.chosen(found.count, "films").tolist()]


def numbers(clips):
    """Which frames were seen, of each film."""
    return [[number_of(frame) for frame in clip] for clip in clips]


def test_films_of_every_format_give_the_same_frames(folder):
    found = films.find(folder, "--samples")
    assert (found.count, found.size, found.frames) == (6, (32, 32), None)
    clips = clips_of(found, side(frames=9, stride=2))
    assert [clip.shape for clip in clips] == [(9, 32, 32, 3)] * 6
    assert clips[0].dtype == np.uint8
    assert numbers(clips) == [list(range(0, 17, 2))] * 6


def test_the_middle_is_of_each_film(folder):
    found = films.find(folder, "--samples")
    starts = [each[0] for each in numbers(clips_of(found, side(frames=9, offset="middle")))]
    assert starts == [(24 - index - 9) // 2 for index in range(6)]


def test_random_clips_lie_within_each_film_and_are_its_own(folder):
    found = films.find(folder, "--samples")
    options = side(frames=18, offset="random", seed=2)
    seen = numbers(clips_of(found, options))
    assert seen[3:] == numbers([found.clip(number, options) for number in (3, 4, 5)])
    assert len({each[0] for each in seen}) > 1
    for index, each in enumerate(seen):
        assert each == list(range(each[0], each[0] + 18))
        assert each[-1] < 24 - index


def test_a_film_can_be_had_whole(folder, array):
    assert numbers([films.find(folder, "--samples").whole(4)]) == [list(range(20))]
    whole = films.find(array, "--samples").whole(2)
    np.testing.assert_array_equal(whole, np.load(array)["arr_0"][2])


def test_a_gif_is_that_of_pillow(folder):
    with Image.open(folder / "e.gif") as opened:
        wanted = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(opened)]
    assert len(wanted) == 20
    pixels = films._decoded(folder / "e.gif", range(3, 20, 4))
    np.testing.assert_array_equal(pixels, wanted[3:20:4])


def test_frames_of_an_array(array):
    found = films.find(array, "--samples")
    assert (found.count, found.size, found.frames) == (5, (6, 8), 20)
    seen = np.stack(clips_of(found, side(frames=9, offset="middle", count=3)))
    assert seen.shape == (3, 9, 6, 8, 3)
    seen = seen[:, :, 5, 7, 2]
    assert seen.tolist() == [[40 * film + 5 + frame for frame in range(9)] for film in range(3)]


def test_films_of_an_array_at_random(array):
    options = side(count=2, pick="random", seed=1)
    chosen = options.chosen(5, "a").tolist()
    seen = np.stack(clips_of(films.find(array, "--samples"), options))
    assert (seen[:, 0, 0, 0, 0] // 40).tolist() == chosen != [0, 1]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", r"b\.mp4 cannot be read: has no bytes"),
        (b"<html>", r"b\.mp4 cannot be read: is a page of HTML"),
        (film(frames(20, 32))[:900], r"b\.mp4 cannot be read: (has|ends)"),
        (film(frames(15, 32)), r"b\.mp4 has 15 frames; 16 with a stride of 1 need 16"),
        (
            film(frames(16, 48)),
            r"b\.mp4 has frames of 48x48 pixels, the first film of 32x32",
        ),
    ],
)
@pytest.mark.parametrize("offset", ["first", "random"])
def test_what_is_wrong_with_a_film_is_a_line(tmp_path, content, line, offset):
    (tmp_path / "a.mp4").write_bytes(film(frames(16, 32)))
    (tmp_path / "b.mp4").write_bytes(content)
    found = films.find(tmp_path, "--samples")
    with pytest.raises(ValueError, match=line):
        found.clip(1, side(offset=offset))


def saved(array):
    """The bytes of an .npz."""
    file = io.BytesIO()
    np.savez(file, arr_0=array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (saved(np.zeros((2, 6, 8, 3), np.uint8)), r"arr_0 is uint8 \(2, 6, 8, 3\); it must be uint8 \(N, F,"),
        (saved(np.zeros((2, 16, 6, 8, 3), np.float32)), r"arr_0 is float32"),
        (b"PK", r"--samples=.*a\.npz is no \.npz with arr_0"),
    ],
)
def test_an_array_of_something_else_is_a_line(tmp_path, content, line):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=line):
        films.find(tmp_path / "a.npz", "--samples")


def test_sets_that_are_too_small_are_a_line(tmp_path, array):
    with pytest.raises(ValueError, match=r"--samples=.* holds no films \(\.mp4, \.webm"):
        films.find(tmp_path, "--samples")
    with pytest.raises(FileNotFoundError, match=r"--samples=no\.npz: there is no such file or folder"):
        films.find(films.Path("no.npz"), "--samples")
    found = films.find(array, "--samples")
    with pytest.raises(ValueError, match=r"films\.npz.* has 5 films; 2,048 are wanted"):
        side(count=2048).chosen(found.count, found.where)
    with pytest.raises(
        ValueError, match=r"films\.npz.*: film 0 has 20 frames; 16 with a stride of 2 need 31"
    ):
        found.clip(0, side(stride=2))
