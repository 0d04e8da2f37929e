"""Encoding objects from many sides, and captions by a text encoder that is split over devices."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data_pipelines.shards.dataset import ShardedDataset
from tests.encode.test_encode import stored
from tests.training.runs import ROOT

VIEWS, OBJECTS, SIDE = 24, 3, 16


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Folders of views, each of a grey of its own, with captions."""
    folder = tmp_path_factory.mktemp("objects")
    for number in range(OBJECTS):
        place = folder / f"object{number}"
        place.mkdir()
        for view in range(VIEWS):
            grey = np.full((SIDE, SIDE, 3), 50 * number + 4 * view, np.uint8)
            Image.fromarray(grey).save(place / f"{view:03d}.png")
        (place / "caption.txt").write_text(f"object {number} " * (number + 1))
    return folder


def encode(objects, out, devices, tensor):
    command = [sys.executable, "-m", "ptdit_jax.encode", "--config=configs/t2i_raw_digits.py"]
    fields = {
        "data.frames": VIEWS,
        "data.height": SIDE,
        "data.width": SIDE,
        "mesh.tensor": tensor,
        "encode.aspects": False,
        "compression.fixed": (1, 2, 2),
    }
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0",
    }
    done = subprocess.run(
        [*command, f"--source=multiview:{objects}", f"--out={out}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return stored(out)


@pytest.fixture(scope="module")
def whole(objects, tmp_path_factory):
    """On one device: the folder of shards, and its records by their keys."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return out, encode(objects, out, 1, 1)


@pytest.mark.full
def test_views_become_the_frames_of_their_object(whole):
    out, records = whole
    assert len(records) == OBJECTS
    dataset = ShardedDataset(str(out))
    assert dataset.shape == (3, VIEWS, SIDE, SIDE)
    found = [dataset[i]["x"] for i in range(OBJECTS)]
    for number, x in enumerate(sorted(found, key=lambda x: x[0, 0, 0, 0])):
        grey = (50 * number + 4 * np.arange(VIEWS)) / 127.5 - 1
        np.testing.assert_allclose(x, np.broadcast_to(grey[None, :, None, None], x.shape), atol=2**-7)


@pytest.mark.full
def test_a_text_encoder_that_is_split_gives_the_same_records(objects, whole, tmp_path):
    split = encode(objects, tmp_path / "out", 2, 2)
    assert set(split) == set(whole[1])
    for key, record in whole[1].items():
        assert (split[key]["moments"] == record["moments"]).all()
        ours, theirs = (
            (each["text"].astype(np.uint32) << 16).view(np.float32) for each in (split[key], record)
        )
        assert ours.shape == theirs.shape
        assert np.linalg.norm(ours - theirs) < 0.02 * np.linalg.norm(theirs)
