"""Pictures hold the right pixels in the right places, and wrong input is refused."""

import numpy as np
import pytest
from PIL import Image

from ptdit_jax import plots


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def random_images(*shape):
    return np.random.default_rng(0).uniform(-1.2, 1.2, shape).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labelled", [True, False])
def test_grid_shows_every_sample_enlarged_in_its_place(tmp_path, channels, labelled):
    images = random_images(5, channels, 1, 8, 16)
    plots.sample_grid(images, list("abcde") if labelled else None, tmp_path / "a.png", columns=3)
    page = pixels(tmp_path / "a.png").reshape(-1, 3 * (128 + 6) + 6, channels)
    caption = plots.CAPTION if labelled else 0
    assert len(page) == 2 * (64 + 6 + caption) + 6
    for i, image in enumerate(plots.to_uint8(images[:, :, 0])):
        top, left = 6 + i // 3 * (64 + 6 + caption) + caption, 6 + i % 3 * (128 + 6)
        shown = page[top : top + 64, left : left + 128]
        np.testing.assert_array_equal(shown, np.kron(image.transpose(1, 2, 0), np.ones((8, 8, 1), np.uint8)))
        heading = page[top - caption : top, left : left + 128]
        assert (heading < 100).any() == labelled  # there is ink in the caption
    assert (page[-70:, -70:] == 255).all()  # the sixth place is empty


def test_columns_follow_the_labels_or_make_a_square(tmp_path):
    for labels, columns in [(np.arange(20) % 10, 10), (np.arange(20), 5), (np.zeros(20, int), 5), (None, 5)]:
        plots.sample_grid(random_images(20, 1, 1, 8, 8), labels, tmp_path / "a.png")
        assert pixels(tmp_path / "a.png").shape[1] == columns * 70 + 6


def test_video_is_a_row_of_frames(tmp_path):
    videos = random_images(2, 1, 3, 64, 64)
    plots.sample_grid(videos, [4, 2], tmp_path / "a.png")
    page = pixels(tmp_path / "a.png")
    assert page.shape == (2 * (64 + 6 + plots.CAPTION) + 6, 6 + 3 * 66 - 2 + 6)
    for sample in range(2):
        for frame in range(3):
            top, left = 6 + plots.CAPTION + sample * (64 + 6 + plots.CAPTION), 6 + 66 * frame
            np.testing.assert_array_equal(
                page[top : top + 64, left : left + 64], plots.to_uint8(videos[sample, 0, frame])
            )


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".apng", ".GIF"])
def test_animation_has_every_frame_at_its_speed(tmp_path, suffix):
    videos = random_images(4, 1, 5, 8, 8)
    path = tmp_path / f"a{suffix}"
    plots.animation(videos, np.arange(4), path, frames_per_second=10)
    with Image.open(path) as film:
        assert film.n_frames == 5
        assert film.info["loop"] == 0
        for frame in range(5):
            film.seek(frame)
            film.load()
            assert film.info["duration"] == 100
            top = 6 + plots.CAPTION
            shown = np.asarray(film.convert("L"))[top : top + 64 : 8, 6 : 6 + 64 : 8]
            np.testing.assert_allclose(shown, plots.to_uint8(videos[0, 0, frame]), atol=2)


@pytest.mark.parametrize("suffix", [*plots.STILL, ".JPG", ".PNG"])
def test_a_grid_is_of_the_kind_that_its_name_says(tmp_path, suffix):
    images = random_images(2, 1, 1, 8, 8)
    plots.sample_grid(images, [1, 2], tmp_path / f"a{suffix}")
    plots.sample_grid(images, [1, 2], tmp_path / "b.png")
    with Image.open(tmp_path / f"a{suffix}") as picture:
        assert picture.format == plots.STILL[suffix.lower()]
    shown, wanted = (pixels(tmp_path / name).astype(int) for name in (f"a{suffix}", "b.png"))
    assert np.abs(shown - wanted).mean() < (3 if "j" in suffix.lower() else 1e-9)


def test_pillow_has_the_formats():
    Image.init()
    known = Image.registered_extensions()
    assert {suffix: known[suffix] for suffix in plots.STILL} == plots.STILL
    assert {suffix: known[suffix] for suffix in plots.MOVING} == plots.MOVING
    assert set(plots.STILL.values()) <= set(Image.SAVE)
    assert set(plots.MOVING.values()) <= set(Image.SAVE_ALL)


@pytest.mark.parametrize(
    ("shape", "labels", "name"),
    [
        ((7, 1, 1, 8, 8), None, "a.jpg"),
        ((20, 3, 1, 8, 16), np.arange(20) % 10, "a.jpg"),
        ((1, 1, 1, 80, 70), [3], "a.JPEG"),
        ((3, 1, 4, 8, 8), np.arange(3), "a.jpg"),
        ((5, 1, 4, 8, 8), None, "a.gif"),
    ],
)
def test_the_size_of_a_picture_is_known_before(tmp_path, monkeypatch, shape, labels, name):
    path = tmp_path / name
    (plots.animation if name == "a.gif" else plots.sample_grid)(random_images(*shape), labels, path)
    with Image.open(path) as picture:
        kind, largest = picture.format, max(picture.size)
    monkeypatch.setitem(plots.LARGEST, kind, largest)
    plots.check_size(path, shape, labels)
    monkeypatch.setitem(plots.LARGEST, kind, largest - 1)
    with pytest.raises(
        ValueError, match=rf"{name}: {shape[0]} samples are a picture of .*{largest:,}.* pixels"
    ):
        plots.check_size(path, shape, labels)


@pytest.mark.parametrize(("name", "largest"), [("a.jpg", 65_500), ("a.webp", 16_383)])
def test_what_a_format_takes_is_written(tmp_path, name, largest):
    """The largest side that `LARGEST` says, and one pixel more is refused by the format's writer."""
    assert plots.LARGEST[(plots.STILL | plots.MOVING)[name[1:]]] == largest
    Image.new("L", (largest, 1)).save(tmp_path / name)
    with pytest.raises((OSError, ValueError)):
        Image.new("L", (largest + 1, 1)).save(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_is_drawn_from_what_is_not_finite(tmp_path, value):
    images = random_images(2, 1, 2, 8, 8)
    images[1, 0, 1, 3, 4] = value
    for draw, name in [(plots.sample_grid, "a.png"), (plots.animation, "a.gif")]:
        with pytest.raises(ValueError, match="not finite"):
            draw(images, None, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_to_uint8_rounds_and_clips():
    np.testing.assert_array_equal(
        plots.to_uint8(np.array([-7, -1, 0, 0.999, 1, 3])), [0, 0, 128, 255, 255, 255]
    )


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((2, 4, 1, 8, 8), None, r"images \(2, 4, 1, 8, 8\)"),
        ((2, 1, 8, 8), None, r"images \(2, 1, 8, 8\)"),
        ((0, 1, 1, 8, 8), None, r"images \(0, 1, 1, 8, 8\)"),
        ((2, 1, 1, 8, 8), [1, 2, 3], "3 labels for 2 images"),
    ],
)
def test_wrong_samples_are_refused(tmp_path, shape, labels, message):
    with pytest.raises(ValueError, match=message):
        plots.sample_grid(np.zeros(shape), labels, tmp_path / "a.png")
    with pytest.raises(ValueError, match=message):
        plots.animation(np.zeros(shape), labels, tmp_path / "a.gif")


def test_animation_names_its_formats(tmp_path):
    with pytest.raises(ValueError, match=r"\.gif, \.webp, \.apng"):
        plots.animation(np.zeros((1, 1, 2, 8, 8)), None, tmp_path / "a.mp4")


@pytest.mark.parametrize("half", [0, 1, 4, 50])
def test_running_mean_is_the_mean_of_the_neighbours(half):
    values = np.random.default_rng(0).normal(size=23)
    expected = [values[max(i - half, 0) : i + half + 1].mean() for i in range(23)]
    np.testing.assert_allclose(plots.running_mean(values, half), expected, rtol=1e-12)


@pytest.mark.parametrize("rows", ["1,0.5\n", "1,0.5\n2,nan\n3,\n4,-1\n"])
def test_loss_curve_draws_what_is_there(tmp_path, rows):
    (tmp_path / "metrics.csv").write_text("step,loss\n" + rows)
    plots.loss_curve(tmp_path / "metrics.csv", tmp_path / "loss.png")
    page = pixels(tmp_path / "loss.png")
    assert page.shape[0] > 400
    assert len(np.unique(page)) > 10


@pytest.mark.parametrize(
    ("text", "message"), [("step,l\n1,2\n", "no column loss"), ("step,loss\n1,nan\n", "no finite")]
)
def test_loss_curve_names_what_is_missing(tmp_path, text, message):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        plots.loss_curve(tmp_path / "metrics.csv", tmp_path / "loss.png")
