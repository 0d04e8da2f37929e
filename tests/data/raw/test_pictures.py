"""Pictures: upright, 8 bits, RGB, on white, and limits that are asked before anything is decoded."""

import errno
import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipelines.raw import RawRecord, Unusable, decode, fit, measure
from data_pipelines.raw.media import Held, Pixels, Stored
from tests.data.raw.media import encoded, huge_png, picture


def record(*contents, kind="image"):
    return RawRecord("key", kind, tuple(Held(content) for content in contents))


STORED = {  # EXIF 2.32, tag 274: which sides of the scene the first row and the first column are
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation_sets_upright(orientation):
    scene = picture(1, 5, 7)
    row, column = STORED[orientation]
    stored = scene.transpose(1, 0, 2) if row in ("left", "right") else scene
    stored = stored[::-1] if row in ("bottom", "right") else stored
    stored = stored[:, ::-1] if column in ("bottom", "right") else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(np.ascontiguousarray(stored), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(record(content))[0], scene)
    assert measure(record(content)) == scene.shape[:2]


def test_transparency_lies_on_white():
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (9, 8, 4)).astype(np.uint8)
    share = rgba[..., 3:].astype(np.float64) / 255
    wanted = rgba[..., :3] * share + 255 * (1 - share)
    np.testing.assert_allclose(decode(record(encoded(rgba)))[0], wanted, atol=1)
    grey = rgba[..., :2].copy()
    content = encoded(Image.fromarray(grey, "LA"))
    wanted = grey[..., :1] * (grey[..., 1:] / 255) + 255 - grey[..., 1:].astype(float)
    np.testing.assert_allclose(decode(record(content))[0], np.repeat(wanted, 3, axis=-1), atol=1)


def test_sixteen_bits_become_eight():
    deep = np.arange(0, 65_536, 257 * 3, dtype=np.uint16).reshape(1, -1).repeat(8, axis=0)
    wanted = np.repeat(np.rint(deep / 257).astype(np.uint8)[..., None], 3, axis=-1)
    for form in ("PNG", "TIFF", "PPM"):
        np.testing.assert_array_equal(decode(record(encoded(deep, form)))[0], wanted)


def test_animations_are_taken_or_refused():
    moving = encoded(
        Image.fromarray(picture()), "GIF", save_all=True, append_images=[Image.new("RGB", (56, 40))]
    )
    assert decode(record(moving)).shape == (1, 40, 56, 3)
    with pytest.raises(Unusable, match="animated: has 2 frames"):
        decode(record(moving), animated="refuse")
    pages = encoded(
        Image.fromarray(picture()), "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))]
    )
    assert decode(record(pages), animated="refuse").shape == (1, 40, 56, 3)  # pages are no animation
    with pytest.raises(ValueError, match="animated='last' must be one of first, refuse"):
        decode(record(moving), animated="last")


def test_limits_are_asked_before_decoding():
    began = time.perf_counter()
    with pytest.raises(Unusable, match="too_large"):
        decode(record(huge_png()))
    with pytest.raises(Unusable, match=r"too_large: has 12000 x 12000 pixels, more than max_pixels"):
        decode(record(huge_png(12_000)))
    assert time.perf_counter() - began < 1
    with pytest.raises(Unusable, match="too_small: has 56 x 40 pixels, min_side is 41"):
        decode(record(encoded(picture())), min_side=41)
    assert decode(record(encoded(picture())), min_side=40, max_pixels=2240).shape == (1, 40, 56, 3)
    with pytest.raises(Unusable, match="too_large"):
        decode(record(encoded(picture())), max_pixels=2239)


def test_faults_of_the_machine_are_not_the_records(tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    file.write_bytes(encoded(picture()))
    stored = RawRecord("a", "image", (Stored(file),))

    def failing(number):
        def fail(*_, **__):
            raise OSError(number, "said so")

        return fail

    monkeypatch.setattr(Path, "open", failing(errno.EACCES))
    with pytest.raises(Unusable, match="unreadable"):
        decode(stored)
    monkeypatch.setattr(Path, "open", failing(errno.EIO))
    with pytest.raises(OSError, match=r"a\.png: said so") as raised:
        decode(stored)
    assert not isinstance(raised.value, Unusable)


def test_a_part_of_a_file_is_read_alone(tmp_path):
    content = encoded(picture())
    file = tmp_path / "many"
    file.write_bytes(b"x" * 100 + content + b"y" * 100)
    part = RawRecord("a", "image", (Stored(file, 100, len(content)),))
    np.testing.assert_array_equal(decode(part)[0], picture())
    beyond = RawRecord("a", "image", (Stored(file, 100, len(content) + 101),))
    with pytest.raises(Unusable, match=r"damaged: .* ends before"):
        decode(beyond)


def test_fit_covers_and_cuts_the_middle():
    torch = pytest.importorskip("torch")
    x = picture(3, 90, 120)
    made = fit(x[None], 30, 30)
    middle = torch.from_numpy(x[:, 15:105].transpose(2, 0, 1)[None].astype(np.float32))
    wanted = torch.nn.functional.interpolate(middle, (30, 30), mode="bicubic", antialias=True)[0].numpy()
    inner = np.s_[3:-3, 3:-3]  # at its borders ours sees what was cut off
    difference = made[0].astype(float) - np.clip(wanted.transpose(1, 2, 0), 0, 255)
    assert np.abs(difference[inner]).max() < 1.5
    assert fit(x[None], 90, 120) is not None
    for height, width in ((7, 200), (200, 7), (90, 119), (1, 1), (91, 120)):
        assert fit(x[None], height, width).shape == (1, height, width, 3)


def test_shape_fits_each_frame():
    x = np.stack([picture(k, 20, 40) for k in range(5)])
    film = RawRecord("a", "video", (Pixels(x),))
    whole = fit(x, 8, 8)
    np.testing.assert_array_equal(decode(film, frames=5, shape=(8, 8)), whole)
    np.testing.assert_array_equal(
        decode(film, frames=3, stride=2, shape=lambda h, w: (h // 2, w // 5)), fit(x[::2], 10, 8)
    )
    with pytest.raises(ValueError, match="have no times"):
        decode(film, frames=2, fps=4.0)
    with pytest.raises(Unusable, match="short_video"):
        decode(film, frames=6)


def test_views_of_one_object_have_one_size():
    same = record(encoded(picture(0)), encoded(picture(1)), kind="multiview")
    assert decode(same).shape == (2, 40, 56, 3)
    with pytest.raises(Unusable, match="views_differ: has views of 56 x 40 and 9 x 9"):
        decode(record(encoded(picture(0)), encoded(picture(1, 9, 9)), kind="multiview"))


def test_a_picture_is_decoded_as_pillow_does():
    for form in ("JPEG", "WEBP", "BMP", "JPEG2000", "AVIF"):
        content = encoded(picture(7), form)
        with Image.open(io.BytesIO(content)) as image:
            np.testing.assert_array_equal(decode(record(content))[0], np.asarray(image.convert("RGB")))
