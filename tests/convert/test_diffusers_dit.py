"""DiT in diffusers: its folder, its config.json and its names, both ways, against its own module."""

import importlib
import json

import numpy as np
import pytest
import torch

from ptdit_jax import config as rules
from ptdit_jax.convert import __main__ as convert
from ptdit_jax.convert import conversion, layouts
from tests.convert import published, small
from tests.models import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a pipeline."""
    path = tmp_path_factory.mktemp("DiT-XL-2-256")
    published.dit().save_pretrained(path / "transformer")
    (path / "model_index.json").write_text('{"_class_name": "DiTPipeline"}')
    return path


@pytest.fixture(scope="module", params=["1000t_diffusers", "1000t"])
def converted(request, folder, tmp_path_factory):
    """What is embedded of the time, the config, diffusers' module that embeds the same, and our run."""
    config, module = published.dit_config(model__time_input=request.param), published.dit()
    if request.param == "1000t":  # DiT's own frequencies, with which the published weights were trained
        for block in module.transformer_blocks:
            block.norm1.emb.time_proj.downscale_freq_shift = 0
    out = tmp_path_factory.mktemp("ours") / "run"
    conversion.from_torch(folder, config, out)
    return config, module, out


def test_is_the_function_of_diffusers(converted):
    config, module, out = converted
    arch = conversion.architecture(config)
    network = small.network(config, conversion.storage.restore(out / "checkpoints" / "0", "params", arch))
    x = np.random.default_rng(0).standard_normal((3, 2, 8, 8)).astype(np.float32)
    steps, labels = np.array([0, 499, 999]), np.array([0, 7, 10], np.int32)
    ours = tiny.run(network, x[:, :, None], (steps / 1000).astype(np.float32), labels, window=(1, 2, 2))
    with torch.no_grad():
        theirs = module(torch.tensor(x), torch.tensor(steps), torch.tensor(labels).long()).sample
    assert theirs.abs().max() > 0.1
    np.testing.assert_allclose(ours[:, :, 0], theirs, rtol=0, atol=1e-4)
    assert json.loads((out / "parity.json").read_text())["passed"]


def test_back_to_a_folder_that_diffusers_loads(converted, tmp_path):
    from diffusers import DiTTransformer2DModel

    _, module, out = converted
    conversion.to_torch(out, tmp_path / "back", layout="diffusers", verify=False)
    loaded = DiTTransformer2DModel.from_pretrained(tmp_path / "back", subfolder="transformer")
    wanted = module.state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.state_dict().items())


def test_the_two_layouts_are_one_network(converted, tmp_path):
    """Out as DiT's own file, and in again: the same parameters."""
    config, _, out = converted
    conversion.to_torch(out, tmp_path / "original", verify=False)
    conversion.from_torch(tmp_path / "original", config, tmp_path / "again", verify=False)
    a, b = published.parameters(out, config), published.parameters(tmp_path / "again", config)
    assert all(np.array_equal(a[path], b[path]) for path in a)


def test_says_at_which_frequencies(folder, tmp_path, capsys):
    conversion.from_torch(folder, published.dit_config(), tmp_path / "ours", verify=False)
    printed = capsys.readouterr().out
    assert "norm_eps is 1e-05; 1e-06, the authors', is used" in printed
    assert "weights trained in diffusers need model.time_input='1000t_diffusers'" in printed


def with_config(folder, tmp_path, change):
    """A copy of the folder with another config.json."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (folder / "transformer").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    facts = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(change(facts)))
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_layers": 28, "sample_size": 64},
            r"num_layers 28, the config's model.depth gives 2 \| sample_size 64",
        ),
        ({"activation_fn": "geglu"}, "activation_fn 'geglu' must be 'gelu-approximate'"),
        (
            {"_class_name": "SD3Transformer2DModel"},
            "is of SD3Transformer2DModel, another family of diffusers",
        ),
        (
            {"_class_name": "PixArtTransformer2DModel"},
            "is of PixArtTransformer2DModel; model.family='dit' is DiT",
        ),
    ],
)
def test_a_config_of_another_network(folder, change, message, tmp_path):
    copy = with_config(folder, tmp_path, lambda facts: facts | change)
    with pytest.raises(ValueError, match=message) as error:
        conversion.from_torch(copy, published.dit_config(), tmp_path / "ours")
    assert "\n" not in str(error.value)
    assert "config.json" in str(error.value)


def test_the_old_name_of_the_class(folder, tmp_path):
    def change(facts):
        return facts | {"_class_name": "Transformer2DModel", "norm_type": "ada_norm_zero"}

    copy = with_config(folder, tmp_path, change)
    conversion.from_torch(copy, published.dit_config(), tmp_path / "ours", verify=False)


def test_blocks_with_different_embeddings(tmp_path):
    module = published.dit()
    torch.nn.init.ones_(module.transformer_blocks[1].norm1.emb.timestep_embedder.linear_1.bias)
    module.save_pretrained(tmp_path / "in")
    with pytest.raises(
        ValueError, match=r"blocks.1.norm1.emb.*linear_1.bias differs from transformer_blocks.0"
    ):
        conversion.from_torch(tmp_path / "in", published.dit_config(), tmp_path / "ours")


def test_sit_has_no_layout_in_diffusers(tmp_path):
    config = published.dit_config(
        model__time_input="1-t",
        diffusion__path="flow",
        diffusion__prediction="velocity",
        diffusion__learn_variance=False,
        sampling__sampler="euler",
    )
    params = small.random_params(config)
    run = small.write_checkpoint(tmp_path / "run", config, **{"ema_0.9": params})
    with pytest.raises(ValueError, match=r"--layout=diffusers: .* model.time_input='1-t'"):
        conversion.to_torch(run, tmp_path / "out", layout="diffusers")


def test_ptdit_has_its_own_layout_only():
    with pytest.raises(ValueError, match=r"--layout=diffusers: model.family='ptdit' has original"):
        layouts.named("ptdit", "diffusers")


@pytest.mark.parametrize(
    ("name", "cls", "changes"),
    [
        ("c2i_imagenet_256_dit_xl", "DiTTransformer2DModel", {}),
        ("t2i_pixart_1024", "PixArtTransformer2DModel", {"size_condition": 8}),
        ("t2i_pixart_256", "PixArtTransformer2DModel", {}),
    ],
)
def test_the_published_sizes(name, cls, changes):
    """Names, shapes and facts of the full networks are those of diffusers' class; nothing is allocated."""
    import diffusers

    config = importlib.import_module(f"configs.{name}").get_config()
    config.model.update(changes)
    arch = conversion.architecture(config)
    layout = layouts.named(arch.family, "diffusers")
    facts = {key: value for key, value in layout.facts(arch).items() if key != "_class_name"}
    with torch.device("meta"):
        model = getattr(diffusers, cls)(**facts)
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == layout.shapes(arch)
    assert layout.implied(layout.shapes(arch)).items() <= vars(arch).items()
    original = layouts.named(arch.family)
    assert original.implied(original.shapes(arch)).items() <= vars(arch).items()


def test_the_command_line(folder, tmp_path, capsys):
    """`--layout` of to-torch, and what `inspect` says of the folder."""
    config = tmp_path / "config.json"
    config.write_text(rules.to_json(published.dit_config()))
    arguments = ["from-torch", folder, f"--config={config}", "--out", tmp_path / "run", "--no-verify"]
    assert convert.main(convert.parse([str(argument) for argument in arguments])) == 0
    arguments = [
        "to-torch",
        "--checkpoint",
        tmp_path / "run",
        "--layout=diffusers",
        "--out",
        tmp_path / "out",
    ]
    assert convert.main(convert.parse([*map(str, arguments), "--no-verify"])) == 0
    assert convert.main(convert.parse(["inspect", str(tmp_path / "out")])) == 0
    printed = capsys.readouterr().out
    assert (
        "the layout of DiT in diffusers: model.family='dit', model.depth=2, model.width=48, model.channels=2"
        in printed
    )
    for name in ("diffusion_pytorch_model.safetensors", "config.json"):
        assert (tmp_path / "out" / "transformer" / name).is_file()
