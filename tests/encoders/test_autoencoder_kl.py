"""AutoencoderKL against diffusers' module: both directions, every kind of file, tiles, and what does not fit."""

import json

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from ptdit_jax.encoders import autoencoder_files
from ptdit_jax.encoders.autoencoder import scaled
from tests.encoders.autoencoders import disturb, open_fast

WEIGHTS = "diffusion_pytorch_model.safetensors"
KINDS = {
    "SD": {"latent_channels": 4},
    "SD3": {
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "scaling_factor": 1.5305,
        "shift_factor": 0.0609,
    },
    "Playground": {
        "latent_channels": 4,
        "scaling_factor": 0.5,
        "latents_mean": [-1.6574, 1.886, -1.383, 2.5155],
        "latents_std": [8.4927, 5.9022, 6.5498, 5.2299],
        "mid_block_add_attention": False,
    },
}


def make(levels=(32, 64, 32), layers=2, **changes):
    torch.manual_seed(0)
    module = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * len(levels),
        up_block_types=["UpDecoderBlock2D"] * len(levels),
        block_out_channels=list(levels),
        layers_per_block=layers,
        **changes,
    )
    return disturb(module)


@pytest.fixture(scope="module", params=list(KINDS))
def pair(request, tmp_path_factory):
    """(folder, diffusers' module, ours)."""
    folder = tmp_path_factory.mktemp("vae")
    module = make(**KINDS[request.param])
    module.save_pretrained(folder)
    return folder, module, open_fast(folder)


def test_equal_to_diffusers_in_both_directions_at_odd_sizes(pair):
    _, theirs, ours = pair
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (2, 3, 40, 28)).astype(np.float32)
    z = rng.standard_normal((2, ours.channels, 5, 9)).astype(np.float32)
    with torch.no_grad():
        moments = theirs._encode(torch.from_numpy(x)).numpy()
        pixels = theirs.decode(torch.from_numpy(z)).sample.numpy()
    config = theirs.config
    mean = np.array(config.latents_mean or config.shift_factor or 0.0).reshape(-1, 1, 1)
    deviation = np.array(config.latents_std or 1.0).reshape(-1, 1, 1)
    sent = ((z - mean) / deviation * config.scaling_factor).astype(np.float32)
    np.testing.assert_allclose(ours.moments(x[:, :, None])[:, :, 0], moments, atol=1e-4)
    np.testing.assert_allclose(ours.decode(sent[:, :, None])[:, :, 0], pixels, atol=1e-4)
    assert ours.factor == (1, 4, 4)
    latents = np.asarray(ours.latents(moments[:, :, None]))[:, :, 0]
    mode = np.split(moments, 2, 1)[0]
    np.testing.assert_allclose(latents, (mode - mean) / deviation * config.scaling_factor, atol=1e-5)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """(folder, diffusers' module) with one level less."""
    folder = tmp_path_factory.mktemp("plain") / "vae"
    module = make((32, 32), 1, sample_size=32)
    module.save_pretrained(folder)
    return folder, module


def test_frames_of_a_film_are_pictures(plain):
    ours = open_fast(plain[0])
    x = np.random.default_rng(0).uniform(-1, 1, (2, 3, 3, 8, 12)).astype(np.float32)
    whole = np.asarray(ours.moments(x))
    single = np.asarray(ours.moments(x.transpose(0, 2, 1, 3, 4).reshape(6, 3, 1, 8, 12)))
    np.testing.assert_allclose(whole, single.reshape(2, 3, 8, 4, 6).transpose(0, 2, 1, 3, 4), atol=1e-5)


def test_tiles_are_those_of_diffusers(plain):
    folder, theirs = plain
    ours = open_fast(folder, tile="yes")
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (1, 3, 52, 32)).astype(np.float32)  # slivers of 4 rows, and of 8 columns
    z = rng.standard_normal((1, 4, 16, 26)).astype(np.float32)
    theirs.enable_tiling()
    with torch.no_grad():
        moments = theirs._encode(torch.from_numpy(x)).numpy()
        pixels = theirs.decode(torch.from_numpy(z)).sample.numpy()
    theirs.disable_tiling()
    np.testing.assert_allclose(ours.moments(x[:, :, None])[:, :, 0], moments, atol=1e-4)
    np.testing.assert_allclose(ours.decode(z[:, :, None] * 0.18215)[:, :, 0], pixels, atol=1e-4)
    whole = open_fast(folder)
    assert np.abs(np.asarray(whole.moments(x[:, :, None]))[:, :, 0] - moments).max() > 1e-3
    assert whole.fingerprint == ours.fingerprint


def test_every_kind_of_folder_is_the_same_network(plain, tmp_path):
    folder, _ = plain
    wanted = autoencoder_files.open_folder(folder).fingerprint
    state = load_file(folder / WEIGHTS)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def renamed(name):
        for new, word in old.items():
            name = name.replace(f".{new}.", f".{word}.")
        return name

    named = {renamed(name): tensor for name, tensor in state.items()}
    assert set(named) != set(state)
    (tmp_path / "pipeline" / "vae").mkdir(parents=True)
    for path in (tmp_path / "pipeline" / "vae", tmp_path):
        (path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    torch.save(state, tmp_path / "diffusion_pytorch_model.bin")
    save_file(named, tmp_path / "pipeline" / "vae" / WEIGHTS)
    save_file(state, tmp_path / "pipeline" / "vae" / "diffusion_pytorch_model.fp16.safetensors")
    for other in (folder.parent, tmp_path, tmp_path / "pipeline", tmp_path / "pipeline" / "vae" / WEIGHTS):
        assert autoencoder_files.open_folder(other).fingerprint == wanted, other


def broken(folder, tmp_path, change=None, **facts):
    """A copy of a folder with other weights or another config."""
    state = load_file(folder / WEIGHTS)
    if change is not None:
        change(state)
    save_file(state, tmp_path / WEIGHTS)
    config = json.loads((folder / "config.json").read_text()) | facts
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


NAME = "decoder.conv_in.weight"


@pytest.mark.parametrize(
    ("change", "facts", "message"),
    [
        (lambda w: w.pop(NAME), {}, f"lacks {NAME}"),
        (
            lambda w: w.update({"extra.weight": torch.zeros(2)}),
            {},
            "beside those of the network, extra.weight",
        ),
        (
            lambda w: w.update({NAME: torch.zeros(32, 5, 3, 3)}),
            {},
            rf"{NAME} has shape \(32, 5, 3, 3\), not \(32, 4, 3, 3\)",
        ),
        (
            lambda w: w.update({NAME: torch.zeros(32, 4, 3, 3, dtype=torch.int32)}),
            {},
            f"{NAME} holds int32 values",
        ),
        (lambda w: w[NAME].fill_(float("nan")), {}, f"{NAME} holds values that are not finite"),
        (
            None,
            {"latent_channels": 16},
            r"decoder.conv_in.weight has shape \(32, 4, 3, 3\), not \(32, 16, 3, 3\)",
        ),
        (None, {"act_fn": "gelu"}, "act_fn is 'gelu'; only 'silu' is supported"),
        (None, {"block_out_channels": [32, 33]}, "must be multiples of norm_num_groups=32"),
        (None, {"latents_mean": [1.0]}, "latents_mean has 1 numbers, latent_channels=4"),
        (None, {"layers_per_block": "2"}, "layers_per_block='2' must be a whole number"),
        (None, {"_class_name": "AutoencoderDC"}, "is of AutoencoderDC; supported are AutoencoderKL"),
    ],
)
def test_what_does_not_fit_is_one_line(plain, tmp_path, change, facts, message):
    with pytest.raises(ValueError, match=message) as error:
        autoencoder_files.open_folder(broken(plain[0], tmp_path, change, **facts))
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_the_layout_of_compvis_is_refused_by_name(tmp_path):
    file = tmp_path / "vae.ckpt"
    torch.save(
        {"state_dict": {"first_stage_model.encoder.down.0.block.0.norm1.weight": torch.zeros(3)}}, file
    )
    with pytest.raises(ValueError, match="has the layout of CompVis") as error:
        autoencoder_files.open_folder(file)
    assert "\n" not in str(error.value)


def test_scaled_latents_of_flux():
    moments = np.zeros((1, 32, 1, 2, 2), np.float32) + 1
    np.testing.assert_allclose(scaled(moments, 0.3611, 0.1159), (1 - 0.1159) * 0.3611, rtol=1e-6)
