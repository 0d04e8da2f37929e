"""Folders of weights as people have them: shards, pickles, whole T5s, and what does not fit."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
import transformers

from ptdit_jax.encoders import t5_layout, t5_weights
from tests.encoders import folders
from tests.encoders.test_t5 import inputs, read


@pytest.fixture(scope="module")
def encoder():
    return folders.module("T5 v1.1")


@pytest.fixture(scope="module")
def folder(encoder, tmp_path_factory):
    return folders.write(tmp_path_factory.mktemp("t5") / "t5", encoder)


@pytest.fixture(scope="module")
def tensors(folder):
    return safetensors.torch.load_file(folder / "model.safetensors")


@pytest.fixture
def altered(folder, tensors, tmp_path):
    """Writes the folder anew with other tensors."""

    def write(changes, without=()):
        place = tmp_path / "altered"
        shutil.copytree(folder, place)
        kept = {name: tensor for name, tensor in (tensors | changes).items() if name not in without}
        safetensors.torch.save_file(kept, place / "model.safetensors")
        return place

    return write


def test_several_files_with_an_index_are_read_one_after_the_other(encoder, folder, tmp_path):
    sharded = folders.write(tmp_path / "sharded", encoder, max_shard_size="60KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    arch, weights = read(sharded)
    assert t5_weights.digest(weights) == t5_weights.digest(read(folder)[1])
    _, digest = t5_weights.load(weights, arch, dtype=jnp.float32)
    assert digest == t5_weights.digest(read(folder)[1])
    assert not weights  # nothing is kept


def test_pickled_files_with_and_without_an_index(folder, tensors, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for place in (one, two):
        place.mkdir()
        shutil.copy(folder / "config.json", place)
    torch.save(tensors, one / "pytorch_model.bin")
    names = sorted(tensors)
    parts = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for part, chosen in parts.items():
        torch.save({name: tensors[name] for name in chosen}, two / part)
    index = {name: part for part, chosen in parts.items() for name in chosen}
    (two / "pytorch_model.bin.index.json").write_text(
        f'{{"weight_map": {str(index).replace(chr(39), chr(34))}}}'
    )
    wanted = t5_weights.digest(read(folder)[1])
    for place in (one, two):
        arch, weights = read(place)
        order = [name in parts["pytorch_model-1.bin"] for name in weights]
        assert place == one or order == sorted(order, reverse=True)  # file after file
        assert t5_weights.load(weights, arch, dtype=jnp.float32)[1] == wanted


def test_a_whole_t5_with_decoder_and_doubled_embedding_is_its_encoder(tmp_path):
    config = transformers.T5Config(**folders.SMALL, feed_forward_proj="gated-gelu")
    whole = transformers.T5ForConditionalGeneration(config).eval()
    whole.save_pretrained(tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("decoder.") for name in tensors)
    tensors |= {
        "encoder.embed_tokens.weight": tensors["shared.weight"].clone(),
        "lm_head.weight": torch.ones(3, 2),
    }
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    arch, weights = read(tmp_path)
    ids, mask = inputs(7)
    with torch.no_grad():
        theirs = whole.encoder(torch.from_numpy(ids).long(), attention_mask=torch.from_numpy(mask).long())
    ours = t5_weights.encode_exactly(weights, arch, ids, mask)
    np.testing.assert_allclose(ours, theirs.last_hidden_state.numpy(), atol=1e-4)


def test_an_embedding_under_its_other_name(altered, tensors, folder):
    other = altered({"encoder.embed_tokens.weight": tensors["shared.weight"]}, without=["shared.weight"])
    assert t5_weights.digest(read(other)[1]) == t5_weights.digest(read(folder)[1])


def test_float16_files_are_read_in_float32(altered, tensors):
    arch, weights = read(altered({name: tensor.half() for name, tensor in tensors.items()}))
    params, _ = t5_weights.load(dict(weights), arch, dtype=jnp.float32)
    wanted = tensors["encoder.block.1.layer.1.DenseReluDense.wo.weight"].half().float().numpy().T
    assert params["blocks"]["wo"].dtype == jnp.float32
    assert (np.asarray(params["blocks"]["wo"][1]) == wanted).all()


def test_parameters_go_back_to_the_same_tensors(folder, tensors):
    arch, weights = read(folder)
    params, _ = t5_weights.load(dict(weights), arch, dtype=jnp.float32)
    back = dict(t5_weights.to_tensors(params, arch))
    assert {name: array.shape for name, array in back.items()} == t5_layout.shapes(arch)
    assert set(back) == set(tensors)
    assert all((back[name] == tensors[name].numpy()).all() for name in tensors)


Q = "encoder.block.1.layer.0.SelfAttention.q.weight"


@pytest.mark.parametrize(
    ("changes", "without", "message"),
    [
        ({}, [Q], rf"lacks {Q} of shape \(64, 48\)"),
        ({Q: torch.ones(64, 32)}, [], rf"{Q} has shape \(64, 32\), its config.json asks for \(64, 48\)"),
        ({"encoder.extra.weight": torch.ones(5)}, [], r"encoder.extra.weight of shape \(5,\) is no tensor"),
        ({Q: torch.ones(64, 48, dtype=torch.int32)}, [], rf"{Q} is of I32, it must be of floating-point"),
        (
            {"encoder.embed_tokens.weight": torch.ones(384, 48)},
            [],
            "shared.weight and encoder.embed_tokens.weight",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_with_the_tensor(altered, changes, without, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(altered(changes, without))
    assert "\n" not in str(caught.value)


def test_values_that_are_not_finite_are_refused_by_name(altered, tensors):
    arch, weights = read(altered({Q: torch.full_like(tensors[Q], torch.inf)}))
    with pytest.raises(ValueError, match=f"{Q} holds values that are not finite"):
        t5_weights.load(weights, arch, dtype=jnp.float32)
