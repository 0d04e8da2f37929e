"""PixArt-α and its MS models as published, both ways: diffusers' module is what they are held to."""

import json

import jax
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from data_pipelines import text as text_files
from ptdit_jax.convert import conversion, layouts, weights
from ptdit_jax.models.conditioning import SizeEmbedding
from tests.convert import published, small
from tests.models import tiny

LENGTH = published.TEXT["text_length"]


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, 2, 8, 8)).astype(np.float32)
    text = rng.standard_normal((3, LENGTH, 8)).astype(np.float32)
    mask = np.arange(LENGTH) < np.array([[LENGTH], [1], [3]])
    return x, np.array([0, 499, 999]), text, mask


def theirs(module, x, steps, text, mask):
    sizes = torch.full((3, 2), 64.0), torch.ones(3, 1)
    with torch.no_grad():
        return module(
            torch.tensor(x),
            encoder_hidden_states=torch.tensor(text),
            timestep=torch.tensor(steps),
            encoder_attention_mask=torch.tensor(mask),
            added_cond_kwargs=dict(zip(("resolution", "aspect_ratio"), sizes, strict=True)),
        ).sample


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "MS"])
def converted(request, tmp_path_factory):
    """Whether MS, its config, diffusers' module, the state dict of the authors' code and the folder ours is made in."""
    ms = request.param
    config, module = published.pixart_config(ms), published.pixart(ms)
    states = torch.randn(LENGTH, 8, generator=torch.Generator().manual_seed(1))
    state = published.original_pixart({**module.state_dict(), "caption_projection.y_embedding": states})
    folder = tmp_path_factory.mktemp("pixart")
    table = layouts.named("pixart").positions(conversion.architecture(config), 1)
    published_file = {"state_dict": state | {"pos_embed": torch.from_numpy(table)}}
    torch.save(published_file, folder / "PixArt-XL-2.pth")
    conversion.from_torch(folder / "PixArt-XL-2.pth", config, folder / "ours")
    return ms, config, module, published_file["state_dict"], folder


def test_is_the_function_of_diffusers(converted):
    _, config, module, _, folder = converted
    arch = conversion.architecture(config)
    params = conversion.storage.restore(folder / "ours" / "checkpoints" / "0", "params", arch)
    network = small.network(config, params)
    x, steps, text, mask = inputs()
    time = (steps / 1000).astype(np.float32)
    out = tiny.run(network, x[:, :, None], time, (text, mask), window=(1, 2, 2))[:, :, 0]
    wanted = theirs(module, x, steps, text, mask)
    assert wanted.abs().max() > 0.1
    np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-4)
    report = json.loads((folder / "ours" / "parity.json").read_text())
    assert report["passed"]
    assert report["max_difference"] < 1e-4


def test_the_null_caption_is_the_runs(converted):
    _, _, _, state, folder = converted
    states = text_files.read_null(folder / "ours", 8)
    np.testing.assert_array_equal(states, state["y_embedder.y_embedding"])


def test_back_to_the_authors_file(converted, tmp_path):
    _, _, _, state, folder = converted
    conversion.to_torch(folder / "ours", tmp_path / "back", verify=False)
    back = torch.load(tmp_path / "back" / "model.pth", weights_only=True)["state_dict"]
    assert set(back) == set(state)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_to_diffusers_and_back(converted, tmp_path):
    """A folder that diffusers loads; its weights are the module's, and come back as the same parameters."""
    from diffusers import PixArtTransformer2DModel

    ms, config, module, state, folder = converted
    conversion.to_torch(folder / "ours", tmp_path / "out", layout="diffusers")
    loaded = PixArtTransformer2DModel.from_pretrained(tmp_path / "out", subfolder="transformer")
    assert loaded.config.use_additional_conditions is ms
    assert set(loaded.state_dict()) == set(module.state_dict())
    assert all(torch.equal(tensor, module.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    stored = load_file(tmp_path / "out" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(stored["caption_projection.y_embedding"], state["y_embedder.y_embedding"])
    conversion.from_torch(tmp_path / "out", config, tmp_path / "ours", verify=False)
    a, b = (published.parameters(where / "ours", config) for where in (folder, tmp_path))
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[path], b[path]) for path in a)
    assert (tmp_path / "ours" / text_files.NULL_FILE).is_file()


@pytest.mark.parametrize("options", [{"max_shard_size": "40KB"}, {"safe_serialization": False}])
def test_folders_that_diffusers_writes(converted, options, tmp_path):
    """In shards with an index, and as .bin; the pipeline's folder or the transformer's."""
    _, config, module, _, folder = converted
    module.save_pretrained(tmp_path / "transformer", **options)
    assert len(list((tmp_path / "transformer").iterdir())) > (3 if "max_shard_size" in options else 1)
    arch = conversion.architecture(config)
    wanted = published.parameters(folder / "ours", config)
    for path in (tmp_path, tmp_path / "transformer"):
        found = weights.open_weights(path)
        layout = layouts.choose(found.shapes, arch, path)
        assert layout is layouts.named("pixart", "diffusers")
        ours = layout.assemble(found.read, arch)
        assert all(np.array_equal(ours[path], wanted[path]) for path in wanted)


def test_size_and_ratio_are_those_of_diffusers():
    """Height before width, in pixels, and height over width, as the class for the MS models embeds them."""
    from diffusers.models.embeddings import PixArtAlphaCombinedTimestepSizeEmbeddings

    size = (1, 6, 10)
    module = published.fill(PixArtAlphaCombinedTimestepSizeEmbeddings(48, 16, use_additional_conditions=True))
    sides = torch.tensor([[size[1] * 8.0, size[2] * 8.0]]), torch.tensor([[size[1] / size[2]]])
    zero = torch.zeros(1)
    with torch.no_grad():
        both = module(zero, *sides, batch_size=1, hidden_dtype=torch.float32)
        time = module.timestep_embedder(module.time_proj(zero))
    ours = SizeEmbedding(48, 8, rngs=tiny.nnx.Rngs(0))
    for part, name in ((ours.resolution, "resolution_embedder"), (ours.ratio, "aspect_ratio_embedder")):
        for layer in ("linear_1", "linear_2"):
            theirs = getattr(getattr(module, name), layer)
            getattr(part, layer).kernel[...] = jax.numpy.asarray(theirs.weight.detach().numpy().T)
            getattr(part, layer).bias[...] = jax.numpy.asarray(theirs.bias.detach().numpy())
    np.testing.assert_allclose(ours(size), both - time, rtol=0, atol=2e-5)


@pytest.mark.parametrize("converted", [False], indirect=True)
def test_another_table_of_positions_is_a_warning(converted, tmp_path, capsys):
    """The authors' code drops the table of a file; so do we, and say it."""
    _, config, _, state, _ = converted
    torch.save({"state_dict": state | {"pos_embed": torch.zeros(1, 4, 48)}}, tmp_path / "w.pth")
    conversion.from_torch(tmp_path / "w.pth", config, tmp_path / "ours", verify=False)
    assert "warning: pos_embed has shape (1, 4, 48)" in capsys.readouterr().err


@pytest.mark.parametrize("converted", [False], indirect=True)
def test_a_learned_null_caption_that_counts_by_its_own_mask(converted, tmp_path, capsys):
    _, _, _, _, folder = converted
    config = published.pixart_config(False, model__null_mask="own")
    conversion.from_torch(folder / "PixArt-XL-2.pth", config, tmp_path / "ours", verify=False)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert "warning: y_embedder.y_embedding is learned with the mask of the caption that it replaces" in line


@pytest.mark.parametrize("converted", [False], indirect=True)
def test_a_null_caption_of_another_size(converted, tmp_path):
    _, _, _, state, _ = converted
    torch.save({"state_dict": state | {"y_embedder.y_embedding": torch.zeros(9, 8)}}, tmp_path / "w.pth")
    config = published.pixart_config(converted[0])
    with pytest.raises(ValueError, match=r"y_embedding has shape \(9, 8\); model.text_length=6"):
        conversion.from_torch(tmp_path / "w.pth", config, tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_a_short_empty_caption_goes_out_with_a_warning(tmp_path, capsys):
    """A run that was trained here has as many states as its empty caption, and counts those only."""
    config = published.pixart_config(ms=False, model__null_mask="own")
    params = small.random_params(config)
    run = small.write_checkpoint(tmp_path / "run", config, **{"ema_0.9": params})
    conversion.to_torch(run, tmp_path / "none", verify=False)
    assert "has no null_text.npz: y_embedder.y_embedding" in capsys.readouterr().err
    text_files.write_null(run / text_files.NULL_FILE, np.ones((1, 8), np.float32), np.ones(1, bool))
    conversion.to_torch(run, tmp_path / "short", verify=False)
    assert "has 1 of 6 states; y_embedder.y_embedding has zeros for the rest" in capsys.readouterr().err
    stored = torch.load(tmp_path / "short" / "model.pth", weights_only=True)["state_dict"]
    assert stored["y_embedder.y_embedding"].sum() == 8


def test_ms_weights_need_the_size_condition(converted, tmp_path):
    ms, _, _, state, _ = converted
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "w.safetensors")
    other = published.pixart_config(not ms)
    wanted = f"model.size_condition={8 * (not ms)}, the weights have {8 * ms} "
    with pytest.raises(ValueError, match=wanted):
        conversion.from_torch(tmp_path / "w.safetensors", other, tmp_path / "ours")


def test_sizes_are_embedded_in_pixels():
    with pytest.raises(ValueError, match=r"model.size_condition=4 must be 0 or data.pixels_per_latent=8"):
        published.pixart_config(ms=False, model__size_condition=4)
