"""Weights in the released layout, drawn from as they are: what converting them first and sampling then gives."""

import jax
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from flax.traverse_util import flatten_dict
from safetensors.torch import save_file

from configs import common
from ptdit_jax import config as rules
from ptdit_jax.convert import conversion
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.pretrained import load_params
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.sample import released
from ptdit_jax.training import checkpoint
from tests.convert import small
from tests.encoders import autoencoders
from tests.sample.test_many import draw

SIZES = {"depth": 2, "width": 144, "heads": 2, "patch": 2, "channels": 4, "out_channels": 8, "text_dim": 128}
FILES = ("model.safetensors", "model.pth")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The release at tiny sizes, in two kinds of file, with an autoencoder of 2 pixels a latent, and a prompt."""
    place = tmp_path_factory.mktemp("release")
    config = common.get_config()
    config.model.update(SIZES | {"variant": "custom", "condition": "text", "sample_size": 16})
    tensors = small.released_tensors(config)
    save_file(tensors, place / FILES[0])
    torch.save({"model": {"module": tensors}, "step": 5}, place / FILES[1])
    module = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        block_out_channels=[32, 32],
        layers_per_block=1,
        latent_channels=4,
    )
    autoencoders.disturb(module).save_pretrained(place / "vae")
    (place / "prompts.txt").write_text("A Boat, http://x.com/a.png on the sea\n")
    return place


def open_release(place, file=FILES[0]):
    return released.of_release(place / file, text_encoder="bytes", vae=str(place / "vae"))


def test_its_settings_are_the_releases(place):
    """30 steps, guidance 4, 200 tokens, the shift of times, the cleaning; sizes as the file has them."""
    config = open_release(place).config
    assert {name: getattr(rules.architecture(config), name) for name in SIZES} == SIZES
    assert (config.sampling.sampler, config.sampling.steps, config.sampling.guidance) == ("euler", 30, 4.0)
    assert (config.model.text_length, config.text_encoder.clean) == (200, "release")
    assert (config.text_encoder.dtype, config.autoencoder.dtype) == ("float32", "bfloat16")
    assert (config.diffusion.path, config.diffusion.prediction) == ("flow", "velocity")
    assert config.diffusion.shift == "released"
    assert (config.data.height * 2, config.data.width * 2) == (1024, 1024)
    assert rules.layout(config)[0] == (1, 8, 8)


@pytest.mark.parametrize("file", FILES)
def test_its_parameters_are_those_of_a_conversion(place, file, tmp_path):
    model = open_release(place, file)
    conversion.from_torch(place / file, model.config, tmp_path / "run", verify=False)
    step = checkpoint.find(tmp_path / "run")
    assert rules.to_json(rules.from_json((tmp_path / "run" / "config.json").read_text())) == rules.to_json(
        model.config
    )
    mesh = make_mesh({"data": -1})
    experiment = build(model.config, mesh=mesh, height=8, width=8)
    ours, converted = model.load(experiment, mesh), load_params(step, "params", experiment, mesh)
    assert jax.tree.structure(ours) == jax.tree.structure(converted)
    for path, array in flatten_dict(ours).items():
        np.testing.assert_array_equal(array, flatten_dict(converted)[path])


@pytest.mark.full
def test_its_pictures_are_those_of_a_conversion(place, tmp_path):
    conversion.from_torch(place / FILES[0], open_release(place).config, tmp_path / "run", verify=False)
    sources = {
        "own": ["--from-release", place / FILES[1], "--text-encoder", "bytes", "--vae", place / "vae"],
        "converted": ["--checkpoint", tmp_path / "run"],
    }
    made = []
    for name, source in sources.items():
        size = ["--prompts", place / "prompts.txt", "--size=16x24", "--steps=2", "--format=npy"]
        assert draw(*source, *size, "--out", tmp_path / name) == 0
        made.append(np.load(tmp_path / name / "000000-0000.npy"))
    assert made[0].shape == (1, 16, 24, 3)
    assert made[0].std() > 3
    np.testing.assert_array_equal(*made)


def test_other_weights_and_encoders_are_refused(place, tmp_path):
    save_file({"a.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"--from-release=.*other\.safetensors has not the layout of"):
        released.of_release(tmp_path / "other.safetensors", text_encoder="bytes", vae=str(place / "vae"))
    with pytest.raises(ValueError, match=r"--vae=.* has no config\.json"):
        released.of_release(place / FILES[0], text_encoder="bytes", vae=str(place / FILES[0]))
    with pytest.raises(ValueError, match="--text-encoder DIR is missing: --from-release needs it"):
        draw("--from-release", place / FILES[0], "--prompts", place / "prompts.txt", "--out", tmp_path / "x")
