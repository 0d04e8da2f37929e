"""What a picture or film says of how it was made, in every format; legends; films."""

import av
import numpy as np
import pytest
from PIL import Image

from ptdit_jax import plots
from ptdit_jax.plots import films, settings

HOW = {settings.KEY: "1", "prompt": "a réd 七 😀", "negative": "x" * 700, "seed": 2**32 - 1, "size": [1, 2.5]}
VIDEOS = np.random.default_rng(0).uniform(-1, 1, (2, 3, 3, 65, 70)).astype(np.float32)


@pytest.mark.parametrize("suffix", [*plots.STILL, *plots.MOVING, ".mp4"])
def test_settings_come_back_from_every_file_that_has_a_place(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for how in (HOW, None):
        if suffix in plots.STILL:
            plots.sample_grid(VIDEOS[:, :, :1], [0, 1], path, settings=how)
        elif suffix in plots.MOVING:
            plots.animation(VIDEOS, [0, 1], path, settings=how)
        else:
            films.write(plots.frames_of(VIDEOS[0]), path, settings=how)
        assert settings.read(path) == (None if suffix == ".bmp" else how)


def test_a_comment_of_somebody_else_is_none(tmp_path):
    page = Image.new("L", (4, 4))
    page.save(tmp_path / "a.gif", comment=b"made by hand")
    page.save(tmp_path / "b.gif", comment=b'{"seed": 1}')
    assert settings.read(tmp_path / "a.gif") is None
    assert settings.read(tmp_path / "b.gif") is None


def test_what_cannot_be_read(tmp_path):
    for name, message in (
        ("a.png", "is no picture that can be read"),
        ("a.mp4", "is no film that can be read"),
    ):
        (tmp_path / name).write_text("words")
        with pytest.raises(ValueError, match=message):
            settings.read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        settings.read(tmp_path / "none.png")


def test_a_film_has_its_pixels_speed_and_even_sides(tmp_path):
    grey = np.broadcast_to(np.linspace(-1, 1, 5)[None, None, :, None, None], (1, 1, 5, 33, 40))
    films.write(plots.frames_of(grey[0]), tmp_path / "a.mp4", frames_per_second=12.5)
    with av.open(str(tmp_path / "a.mp4")) as film:
        stream = film.streams.video[0]
        frames = [frame.to_ndarray(format="gray") for frame in film.decode(stream)]
        assert (stream.width, stream.height, stream.average_rate) == (40, 34, 12.5)
    for frame, value in zip(frames, np.linspace(0, 255, 5), strict=True):
        assert abs(frame[:30].mean() - value) < 6


def test_a_legend_is_below_and_wrapped(tmp_path, monkeypatch):
    images = VIDEOS[:, :, :1]
    plots.sample_grid(images, None, tmp_path / "a.png", columns=2)
    plots.sample_grid(images, None, tmp_path / "b.png", columns=2, legend=["a red seven " * 5, "w" * 40])
    bare, legend = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("a.png", "b.png"))
    lines, rest = divmod(len(legend) - len(bare), plots.CAPTION)
    assert not rest
    assert lines >= 5
    np.testing.assert_array_equal(legend[: len(bare)], bare)
    below = legend[len(bare) :].reshape(lines, plots.CAPTION, *legend.shape[1:])
    assert (below.min(axis=(1, 2, 3)) < 100).all()  # ink in every line
    assert (below[:, :, -3:] == 255).all()  # and none at the border
    size = (2, 3, 1, 65, 70)
    words = {"columns": 2, "legend": ["a red seven " * 5, "w" * 40]}
    monkeypatch.setitem(plots.LARGEST, "JPEG", max(legend.shape[:2]))
    plots.check_size(tmp_path / "a.jpg", size, None, **words)
    monkeypatch.setitem(plots.LARGEST, "JPEG", max(legend.shape[:2]) - 1)
    with pytest.raises(ValueError, match="2 samples are a picture of"):
        plots.check_size(tmp_path / "a.jpg", size, None, **words)
