"""A folder of pictures with what is wrong in such folders, and a hash that needs no ImageHash."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from data_pipelines.ingest import pictures


def picture(seed, height=64, width=80):
    """A smooth picture, the same for the same seed."""
    corners = np.random.default_rng(seed).random((6, 6, 3))
    values = ndimage.zoom(corners, (height / 6, width / 6, 1), order=1)
    return Image.fromarray((values * 255).astype(np.uint8))


def encoded(image, kind="PNG", **options):
    """The bytes of a picture."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """24 pictures with captions, five smaller ones of the same, a copy, one with the same pixels, and a damaged one."""
    place = tmp_path / "pictures"
    place.mkdir()
    for seed in range(24):
        (place / f"{seed:02d}.jpg").write_bytes(encoded(picture(seed), "JPEG", quality=95))
        (place / f"{seed:02d}.txt").write_text(f"picture number {seed}")
    for seed in range(5):
        (place / f"small{seed}.png").write_bytes(encoded(picture(seed).resize((40, 32))))
    shutil.copy(place / "07.jpg", place / "copy.jpg")
    (place / "pixels.png").write_bytes(encoded(Image.open(place / "08.jpg")))
    (place / "torn.jpg").write_bytes((place / "09.jpg").read_bytes()[:700])
    return place


@pytest.fixture
def average_hash(monkeypatch):
    """Replaces ImageHash, which is not in .venv: 64 bits by the mean of an 8x8 picture."""

    def call(image):
        values = np.asarray(image.convert("L").resize((8, 8)), float).ravel()
        return int("".join("01"[int(value > values.mean())] for value in values), 2)

    monkeypatch.setattr(pictures, "perceptual_hash", call)
