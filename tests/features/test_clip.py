"""CLIP equals transformers' on random weights in the published layout."""

import json

import numpy as np
import pytest
import torch
import transformers

from ptdit_jax.features import clip
from tests.features import towers

NEAR = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def network():
    """transformers'."""
    return towers.clip()


@pytest.fixture(scope="module")
def folder(network, tmp_path_factory):
    """The same in a folder."""
    return towers.save(network, tmp_path_factory.mktemp("clip") / "clip", 20)


@pytest.fixture(scope="module")
def loaded(folder):
    """Ours."""
    return clip.load(folder)


def pixels(count=3, side=20):
    return np.random.default_rng(1).normal(size=(count, side, side, 3)).astype(np.float32)


def theirs(network, shown, ids, mask):
    """Image and text embeddings, of unit length."""
    with torch.no_grad():
        found = network(
            pixel_values=torch.from_numpy(shown.transpose(0, 3, 1, 2)),
            input_ids=torch.from_numpy(ids).long(),
            attention_mask=torch.from_numpy(mask).long(),
        )
    return found.image_embeds.numpy(), found.text_embeds.numpy()


def beyond(ours):
    """Ids and mask of the captions, one with tokens of higher ids before and after its end, one with two ends."""
    ids, mask = (np.array(array) for array in ours.tokens(towers.CAPTIONS))
    ids[1, :6] = [1, towers.END + 1, 5, towers.END, towers.END + 2, towers.END]
    mask[1, :6] = True
    return ids, mask


def check(network, ours, ids, mask):
    shown = pixels()
    images, texts = theirs(network, shown, ids, mask)
    np.testing.assert_allclose(ours.image_embeddings(shown), images, **NEAR)
    np.testing.assert_allclose(ours.text_embeddings(ids, mask), texts, **NEAR)
    for found in (images, texts):
        assert np.ptp(found, axis=0).max() > 0.1  # they are not all the same


def test_embeddings_are_those_of_transformers(network, loaded):
    check(network, loaded[0], *beyond(loaded[0]))
    found = loaded[0].of_captions(towers.CAPTIONS)
    assert found.shape == (4, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_the_old_end_and_the_other_activation(tmp_path):
    network = towers.clip(end=clip.OLD_END, act="gelu")
    ours = clip.load(towers.save(network, tmp_path / "clip", 20))[0]
    check(network, ours, *beyond(ours))


def test_what_follows_the_end_changes_nothing(loaded):
    ids, mask = loaded[0].tokens(towers.CAPTIONS)
    wanted = loaded[0].text_embeddings(ids, mask)
    other = np.where(mask, ids, 7)
    np.testing.assert_allclose(loaded[0].text_embeddings(other, mask), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loaded[0].text_embeddings(other, mask | True), wanted, rtol=1e-5, atol=1e-6)
    short = loaded[0].text_embeddings(ids[:3, :12], mask[:3, :12])
    np.testing.assert_allclose(short, wanted[:3], rtol=1e-5, atol=1e-6)


def test_a_masked_token_is_not_seen(network, loaded):
    """Left of the end too, where the causal mask would let it be seen."""
    ids, mask = (np.array(array) for array in loaded[0].tokens(towers.CAPTIONS))
    mask[2, 2:4] = False
    wanted = theirs(network, pixels(), ids, mask)[1]
    np.testing.assert_allclose(loaded[0].text_embeddings(ids, mask), wanted, **NEAR)
    assert np.abs(loaded[0].of_captions(towers.CAPTIONS) - wanted)[2].max() > 1e-2


def test_captions_are_cut_before_their_end(loaded):
    ids, mask = loaded[0].tokens(towers.CAPTIONS)
    assert ids.shape == mask.shape == (4, towers.LENGTH)
    assert (ids[:, 0] == towers.END - 1).all()
    assert ids[3, -1] == towers.END
    assert mask.sum(1).tolist() == [4, 2, 12, 16]
    assert loaded[0].tokens([])[0].shape == (0, towers.LENGTH)


def test_a_tokenizer_of_more_tokens_is_a_line(folder):
    tokens = clip.Tokenizer(folder, length=towers.LENGTH, vocabulary=towers.END)
    with pytest.raises(
        ValueError, match=f"gives token {towers.END}; the network knows {towers.END}, so it has"
    ):
        tokens(["a cat"])


def test_tokens_are_those_of_transformers_tokenizer(folder, loaded, tmp_path):
    """Of the published files and of tokenizer.json alone."""
    theirs = transformers.CLIPTokenizer.from_pretrained(folder)
    wanted = theirs(towers.CAPTIONS, padding="max_length", truncation=True, max_length=towers.LENGTH)[
        "input_ids"
    ]
    assert loaded[0].tokens(towers.CAPTIONS)[0].tolist() == wanted
    theirs.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    assert not (tmp_path / "vocab.json").exists()
    other = clip.Tokenizer(tmp_path, length=towers.LENGTH, vocabulary=towers.KNOWN)
    assert other(towers.CAPTIONS)[0].tolist() == wanted


def test_a_bin_is_read_and_has_the_same_digest(network, loaded, tmp_path):
    folder = towers.save(network, tmp_path / "clip", 20, pickled=True)
    tensors = torch.load(folder / "pytorch_model.bin")
    positions = {
        f"{tower}_model.embeddings.position_ids": torch.arange(4)[None] for tower in ("text", "vision")
    }
    torch.save(tensors | positions, folder / "pytorch_model.bin")  # as files of old versions have them
    ours, digest = clip.load(folder)
    assert digest == loaded[1]
    assert len(digest) == 64
    np.testing.assert_array_equal(ours.image_embeddings(pixels()), loaded[0].image_embeddings(pixels()))


def test_the_digest_is_of_weights_sizes_and_preparation(network, loaded, folder, tmp_path):
    digests = {loaded[1]}
    copy = towers.save(network, tmp_path / "clip", 20)
    towers.write_preparation(copy, 20, resample=2)
    digests.add(clip.load(copy)[1])
    towers.write_preparation(copy, 20)
    assert clip.load(copy)[1] in digests
    towers.edit(copy, text_config={"hidden_act": "gelu"})
    digests.add(clip.load(copy)[1])
    towers.change(copy, {"visual_projection.weight": lambda tensor: tensor * 1.001})
    digests.add(clip.load(copy)[1])
    assert len(digests) == 4


def test_several_files_with_an_index(network, loaded, tmp_path):
    folder = towers.save(network, tmp_path / "clip", 20)
    (folder / "model.safetensors").unlink()
    network.save_pretrained(folder, max_shard_size="30KB")
    assert (folder / "model.safetensors.index.json").is_file()
    assert clip.load(folder)[1] == loaded[1]


def test_old_configs_have_a_second_section(folder, tmp_path):
    """It stands above the first, defaults included, as transformers has it."""
    facts = json.loads((folder / "config.json").read_text())
    facts["text_config"]["eos_token_id"] = 2
    facts["text_config_dict"] = {"hidden_size": 24, "num_attention_heads": 3, "hidden_act": "gelu"}
    facts["vision_config_dict"] = None
    towers.write(tmp_path / "config.json", facts)
    ours = clip.read_architecture(clip.folders.config(tmp_path, "clip"))
    wanted = transformers.CLIPConfig.from_pretrained(tmp_path).text_config
    assert (ours.text.width, ours.text.hidden, ours.text.depth) == (24, 2048, 12)
    assert (wanted.hidden_size, wanted.intermediate_size, wanted.num_hidden_layers) == (24, 2048, 12)
    assert ours.text.activation == wanted.hidden_act == "gelu"
    assert ours.end == wanted.eos_token_id == 49407
    assert (ours.vision.width, ours.side) == (32, 20)


def test_defaults_and_published_sizes_are_those_of_transformers(tmp_path):
    """ViT-B/32, whose fields a config may leave out, and ViT-L/14 at 336 pixels."""
    sizes = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    }
    vision = sizes | {"image_size": 336, "patch_size": 14}
    large = {"vision_config": vision, "text_config": {"hidden_size": 768, "num_attention_heads": 12}}
    for facts in ({}, large | {"projection_dim": 768}):
        towers.write(tmp_path / "config.json", {"model_type": "clip"} | facts)
        arch = clip.read_architecture(clip.folders.config(tmp_path, "clip"))
        config = transformers.CLIPConfig(**facts)
        with torch.device("meta"):
            wanted = {
                name: tuple(it.shape) for name, it in transformers.CLIPModel(config).state_dict().items()
            }
        assert wanted.pop("logit_scale") == ()
        assert clip.shapes(arch) == wanted
        for ours, theirs in ((arch.text, config.text_config), (arch.vision, config.vision_config)):
            assert ours.activation == theirs.hidden_act
            assert ours.epsilon == theirs.layer_norm_eps
            assert ours.heads == theirs.num_attention_heads
        assert (arch.end, arch.length) == (config.text_config.eos_token_id, 77)
