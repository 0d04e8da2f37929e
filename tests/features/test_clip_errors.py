"""What is wrong with a folder of CLIP, or with what is given to the network, is one line."""

import numpy as np
import pytest
import torch

from ptdit_jax.features import clip
from tests.features import towers


@pytest.fixture(scope="module")
def network():
    """transformers'."""
    return towers.clip()


QUERY = "text_model.encoder.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"vision_model.pre_layrnorm.bias": None},
            r"lacks vision_model.pre_layrnorm.bias of shape \(32,\), which",
        ),
        (
            {QUERY: lambda it: it[:5].clone()},
            rf"{QUERY} has shape \(5, 24\), its config.json asks for \(24, 24\)",
        ),
        ({QUERY: lambda it: it / 0}, rf"{QUERY} holds values that are not finite"),
        ({QUERY: lambda it: it.to(torch.int32)}, rf"{QUERY} holds int32 values"),
        (
            {QUERY.replace("1", "2"): lambda it: torch.zeros(2)},
            "holds text_model.encoder.layers.2.self_attn.q_proj.weight, of which the network",
        ),
    ],
)
def test_a_wrong_tensor_is_a_line(network, tmp_path, changes, line):
    folder = towers.save(network, tmp_path / "clip", 20)
    towers.change(folder, changes)
    with pytest.raises(ValueError, match=line) as error:
        clip.load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"model_type": "siglip"}, "config.json: model_type is 'siglip' and must be 'clip'"),
        (
            {"text_config": {"hidden_act": "relu"}},
            "text_config: hidden_act is 'relu' and must be 'quick_gelu' or",
        ),
        (
            {"text_config": {"eos_token_id": 5}},
            f"eos_token_id is 5, the tokenizer ends captions with {towers.END}",
        ),
        (
            {"text_config": {"num_attention_heads": 5}},
            "num_attention_heads is 5 and must be a divisor of hidden_size",
        ),
        (
            {"vision_config": {"image_size": [20, 20]}},
            r"vision_config: image_size is \[20, 20\] and must be a whole",
        ),
        ({"vision_config": {"patch_size": 21}}, "patch_size is 21 and must be at most image_size=20"),
        ({"vision_config": {"num_channels": 4}}, "num_channels is 4 and must be 3"),
        ({"vision_config": {"layer_norm_eps": 0}}, "layer_norm_eps is 0 and must be a number above 0"),
        ({"vision_config": 3}, "vision_config is 3 and must be an object"),
    ],
)
def test_a_wrong_config_is_a_line(network, tmp_path, sections, line):
    folder = towers.save(network, tmp_path / "clip", 20)
    towers.edit(folder, **sections)
    with pytest.raises(ValueError, match=line) as error:
        clip.load(folder)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_a_line(network, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        clip.load(tmp_path / "nowhere")
    folder = towers.save(network, tmp_path / "clip", 20)
    for name, line in {
        "model.safetensors": "has no weights in it",
        "merges.txt": r"has no tokenizer \(tokenizer.json or vocab.json and merges.txt\)",
        "preprocessor_config.json": "preprocessor_config.json: there is no such file, which says how pictures",
        "config.json": "config.json: there is no such file, which says what network",
    }.items():
        (folder / name).unlink()
        with pytest.raises((ValueError, FileNotFoundError), match=line):
            clip.load(folder)


def test_wrong_inputs_are_a_line(network, tmp_path):
    ours = clip.load(towers.save(network, tmp_path / "clip", 20))[0]
    ids = np.full((1, 3), towers.END)
    with pytest.raises(ValueError, match=r"pixels are \(1, 21, 21, 3\); CLIP's must be \(N, 20, 20, 3\)"):
        ours.image_embeddings(np.zeros((1, 21, 21, 3), np.float32))
    with pytest.raises(ValueError, match=r"ids are \(1, 3\) and mask \(1, 2\)"):
        ours.text_embeddings(ids, np.ones((1, 2), bool))
    with pytest.raises(
        ValueError, match=rf"ids from 0 to {towers.KNOWN} must be from 0 to {towers.KNOWN - 1}"
    ):
        ours.text_embeddings(np.array([[0, towers.KNOWN]]), np.ones((1, 2), bool))
    with pytest.raises(ValueError, match=f"ids of caption 1 have no token {towers.END}"):
        ours.text_embeddings(np.array([[0, towers.END], [0, 1]]), np.ones((2, 2), bool))
