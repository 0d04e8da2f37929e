"""Encoding from tars and with autoencoders from folders: what is stored is what diffusers and the network give."""

import json
import tarfile

import diffusers
import ml_dtypes
import numpy as np
import pytest
import torch

from benchmarks import make_raw_demo
from data_pipelines.raw import decode, fit, open_raw, tar_index
from data_pipelines.shards.dataset import ShardedDataset
from ptdit_jax import cli
from ptdit_jax.encode.__main__ import start
from tests.encode.test_encode import stored
from tests.encoders.autoencoders import disturb, open_fast, write_causal


def encode(source, out, **fields):
    fields = {"encode.aspects": False, "encode.max_enlarge": 2.0} | fields
    words = ["encode", "--config=configs/t2i_raw_digits.py", f"--source={source}", f"--out={out}"]
    return cli.run(lambda: start([*words, *(f"--config.{name}={value}" for name, value in fields.items())]))


def moments(records):
    return {key: r["moments"].view(ml_dtypes.bfloat16).astype(np.float32) for key, r in records.items()}


def pixels(source, side):
    """Frames (F, H, W, 3) in [-1, 1] of every record by its key."""
    records = [source[i] for i in range(len(source))]
    return {r.key: fit(decode(r, frames=5), side, side).astype(np.float32) / 127.5 - 1 for r in records}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    make_raw_demo.make_images(folder / "images", 6, 32)
    make_raw_demo.make_videos(folder / "videos", 3, 32, 5, 8)
    return folder


def test_latents_of_pictures_are_those_of_diffusers(raw, tmp_path):
    model = disturb(
        diffusers.AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
            layers_per_block=1,
        )
    )
    model.save_pretrained(tmp_path / "vae")
    fields = {
        "autoencoder.path": tmp_path / "vae",
        "autoencoder.dtype": "float32",
        "model.channels": 4,
        "data.height": 16,
        "data.width": 16,
        "data.pixels_per_latent": 2,
    }
    assert encode(f"images:{raw}/images", tmp_path / "out", **fields) == 0
    found = moments(stored(tmp_path / "out"))
    wanted = pixels(open_raw("images", f"{raw}/images"), 32)
    assert set(found) == set(wanted)
    for key, x in wanted.items():
        with torch.no_grad():
            theirs = model.encode(torch.from_numpy(x[0]).permute(2, 0, 1)[None]).latent_dist.parameters
        assert found[key].shape == (8, 1, 16, 16)
        np.testing.assert_allclose(found[key][:, 0], theirs[0].numpy(), rtol=2**-8, atol=1e-3)
    dataset = ShardedDataset(str(tmp_path / "out"))
    mean = dataset[0]["x"]
    assert mean.shape == (4, 1, 16, 16)
    expected = found[next(iter(stored(tmp_path / "out")))][:4] * model.config.scaling_factor
    np.testing.assert_allclose(mean, expected, rtol=1e-6)


@pytest.mark.full  # compiles the CausalVAE twice
def test_films_become_latent_frames_of_the_causal_vae(raw, tmp_path):
    write_causal(tmp_path / "vae")
    fields = {
        "autoencoder.path": tmp_path / "vae",
        "autoencoder.dtype": "float32",
        "model.channels": 4,
        "data.height": 4,
        "data.width": 4,
        "data.frames": 2,
        "data.pixels_per_latent": 8,
        "encode.batch": 5,
    }
    assert encode(f"videos:{raw}/videos", tmp_path / "out", **fields) == 0
    found = moments(stored(tmp_path / "out"))
    wanted = pixels(open_raw("videos", f"{raw}/videos"), 32)
    assert set(found) == set(wanted)
    assert len(found) == 3
    x = np.stack([np.moveaxis(wanted[key], -1, 0) for key in found])
    network = np.asarray(open_fast(tmp_path / "vae").moments(x))
    for got, theirs in zip(found.values(), network, strict=True):
        assert got.shape == (8, 2, 4, 4)
        np.testing.assert_allclose(got, theirs, rtol=2**-7, atol=2e-3)


def test_samples_of_a_tar_are_looked_up_once(raw, tmp_path, monkeypatch):
    """A resume reads the index of the tars that the first start made, and not their headers."""
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "00000.tar", "w") as tar:
        for file in sorted((raw / "images").iterdir()):
            tar.add(file, file.name)
    source = f"webdataset:{tmp_path}/tars"
    assert encode(source, tmp_path / "out") == 0
    assert len(list((tmp_path / "out" / "source_index").glob("*.npz"))) == 1
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.array_record")}
    (tmp_path / "out" / next(iter(first))).unlink()
    monkeypatch.setattr(tar_index, "scan", lambda path: pytest.fail("read again"))
    assert encode(source, tmp_path / "out") == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.array_record")} == first
    keys = {record["key"].tobytes().decode() for record in stored(tmp_path / "out").values()}
    assert keys == {f"00000/{number:05d}" for number in range(6)}
    assert json.loads((tmp_path / "out" / "index.json").read_text())["records"] == 6
