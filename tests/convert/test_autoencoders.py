"""`convert encoder` on autoencoders: both kinds, both ways, with a report."""

import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.numpy import load_file

from ptdit_jax.convert import autoencoders, encoders, parity
from ptdit_jax.encoders import autoencoder_files
from tests.encoders.autoencoders import disturb, write_causal

FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(autoencoders, "KL_SIZES", ((1, 40, 24),))
    monkeypatch.setattr(autoencoders, "CAUSAL_SIZES", ((5, 8, 16),))


def test_an_autoencoder_of_diffusers_comes_back_as_it_was(tmp_path, capsys):
    torch.manual_seed(0)
    module = AutoencoderKL(block_out_channels=(32,), scaling_factor=1.5, shift_factor=0.06)
    disturb(module).save_pretrained(tmp_path / "vae")
    encoders.convert(str(tmp_path), tmp_path / "out")
    before, after = load_file(tmp_path / "vae" / FILE), load_file(tmp_path / "out" / FILE)
    assert set(before) == set(after)
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    report = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert report["passed"]
    assert {row["folder"] for row in report["cases"]} == {"read", "written"}
    assert any("bfloat16" in what for what in report["remarks"])
    assert f"{sum(array.size for array in before.values()):,} parameters" in capsys.readouterr().out
    again = AutoencoderKL.from_pretrained(tmp_path / "out")
    assert again.config.shift_factor == 0.06


def test_a_causal_vae_comes_back_as_it_was(tmp_path, monkeypatch):
    table = [kind._replace(remarks=lambda folder: {}) for kind in encoders.KINDS]
    monkeypatch.setattr(encoders, "KINDS", table)  # compiles half as much
    state = write_causal(tmp_path / "in", nesting="state_dict.gen_model.", file="model.ckpt")
    encoders.convert(str(tmp_path / "in"), tmp_path / "out")
    after = load_file(tmp_path / "out" / FILE)
    assert set(after) == set(state)
    for name, array in state.items():
        np.testing.assert_array_equal(after[name], array)
    report = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert report["passed"]
    assert [row["input"] for row in report["cases"][:2]] == ["moments of 5x8x16", "pixels of 2x1x2"]
    opened = [autoencoder_files.open_folder(tmp_path / name) for name in ("in", "out")]
    assert opened[0].fingerprint == opened[1].fingerprint


def test_another_function_is_no_conversion(tmp_path, monkeypatch):
    write_causal(tmp_path / "in")
    ones = [np.ones(3), np.ones(3)]
    monkeypatch.setattr(autoencoders, "_ours", lambda *args: ones)
    monkeypatch.setattr(autoencoders, "_theirs", lambda *args: [ones[0], 1.01 * ones[1]])
    with pytest.raises(parity.ParityError, match="another function"):
        encoders.convert(str(tmp_path / "in"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
