"""DiT's and SiT's public weights: their names, and the functions of the public networks, both ways."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.convert import __main__ as convert
from ptdit_jax.convert import conversion, inspection, layouts, storage, torch_dit
from ptdit_jax.diffusion import samplers
from tests.convert import small
from tests.models import tiny

DIT_LAYOUT = layouts.named("dit")
DIT = {"model__family": "dit", "model__patch": 2, "model__out_channels": 2, "model__channels": 1}
DIT |= {"diffusion__path": "vp", "diffusion__prediction": "eps", "diffusion__learn_variance": True}
DIT |= {"diffusion__times": "uniform", "sampling__sampler": "ddpm"}
SIT = {"model__family": "dit", "model__patch": 2, "model__out_channels": 2, "model__time_input": "1-t"}


def public_names(depth, width, *, channels, patch, outputs, classes, side):
    """{name: shape} of the public state dict, by hand."""
    linears = {
        "t_embedder.mlp.0": (width, 256),
        "t_embedder.mlp.2": (width, width),
        "final_layer.linear": (patch**2 * outputs, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
    }
    for i in range(depth):
        linears[f"blocks.{i}.attn.qkv"] = (3 * width, width)
        linears[f"blocks.{i}.attn.proj"] = (width, width)
        linears[f"blocks.{i}.mlp.fc1"] = (4 * width, width)
        linears[f"blocks.{i}.mlp.fc2"] = (width, 4 * width)
        linears[f"blocks.{i}.adaLN_modulation.1"] = (6 * width, width)
    shapes = {"pos_embed": (1, (side // patch) ** 2, width)}
    shapes |= {"x_embedder.proj.weight": (width, channels, patch, patch), "x_embedder.proj.bias": (width,)}
    shapes["y_embedder.embedding_table.weight"] = (classes + 1, width)
    shapes |= {f"{name}.weight": shape for name, shape in linears.items()}
    return shapes | {f"{name}.bias": shape[:1] for name, shape in linears.items()}


def public_network(config, seed=0):
    """The PyTorch module with random weights."""
    arch = conversion.architecture(config)
    model = torch_dit.DiT(arch, DIT_LAYOUT.positions(arch, 1))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.3
        torch.nn.init.normal_(parameter, std=scale, generator=generator)
    return model


def test_names_and_shapes_are_the_public_ones():
    config = small.config(**DIT)
    arch = conversion.architecture(config)
    names = public_names(2, 32, channels=1, patch=2, outputs=2, classes=10, side=8)
    state = public_network(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == names
    buffer = DIT_LAYOUT.positions(arch, 1)
    assert DIT_LAYOUT.shapes(arch) | {"pos_embed": buffer.shape} == names
    # The public table: column j and row i of token (i, j), the first half of the features for columns.
    frequency = 10000.0 ** (-np.arange(8) / 8)
    token = np.concatenate([f(p * frequency) for p in (3, 2) for f in (np.sin, np.cos)])
    np.testing.assert_allclose(buffer[0, 2 * 4 + 3], token, atol=1e-6)


@pytest.fixture(scope="module", params=["DiT", "SiT"])
def converted(request, tmp_path_factory):
    """Which, its config, the public network, its file, and the folder that our converter made of it."""
    config = small.config(**(DIT if request.param == "DiT" else SIT))
    model = public_network(config)
    folder = tmp_path_factory.mktemp(request.param)
    raw = {name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()}
    torch.save({"model": raw, "ema": model.state_dict(), "opt": {}}, folder / "0400000.pt")
    conversion.from_torch(folder / "0400000.pt", config, folder / "ours")
    return request.param, config, model, folder


def ours(config, folder):
    """Our network with the converted weights, a jitted function of (x, t, labels)."""
    arch = conversion.architecture(config)
    params = storage.restore(folder / "ours" / "checkpoints" / "0", "params", arch)
    network = small.network(config, params)
    return lambda x, t, labels: tiny.run(network, x, t, labels, window=(1, 2, 2))


def test_the_networks_are_the_same_function(converted):
    which, config, model, folder = converted
    assert json.loads((folder / "ours" / "parity.json").read_text())["passed"]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 1, 8, 8)).astype(np.float32)
    labels = np.array([0, 7, 10], np.int32)
    step = np.array([0, 499, 999])
    time = step if which == "DiT" else 1 - step / 1000  # SiT: t = 1 is data
    with torch.no_grad():
        theirs = model(*(torch.tensor(a) for a in (x, time.astype(np.float32), labels)))
    out = ours(config, folder)(x[:, :, None], (step / 1000).astype(np.float32), labels)[:, :, 0]
    assert theirs.abs().max() > 0.1
    np.testing.assert_allclose(out, theirs, atol=1e-4)


@pytest.mark.parametrize("converted", ["SiT"], indirect=True)
def test_samples_of_sit_are_those_of_its_own_convention(converted):
    """Our Euler steps from t = 1 to 0 against dx = v dt from SiT's t = 0, noise, to 1, data."""
    _, config, model, folder = converted
    noise, labels, steps = np.random.default_rng(1).standard_normal((2, 1, 8, 8)), np.array([1, 4]), 4
    x = torch.tensor(noise, dtype=torch.float32)
    with torch.no_grad():
        for i in range(steps):
            x = x + model(x, torch.full((2,), i / steps), torch.tensor(labels))[:, :1] / steps
    network = ours(config, folder)
    method = samplers.make_sampler(rules.make_objective(config), "euler", steps=steps)
    state = method.start(jnp.asarray(noise[:, :, None], jnp.float32))
    for row in method.rows():
        denoise = lambda x, t: network(x, t, jnp.asarray(labels, jnp.int32))  # noqa: E731
        state = method.step(jax.random.key(0), denoise, state, row)
    np.testing.assert_allclose(state.x[:, :, 0], x, atol=1e-4)


def test_back_to_the_public_file_bit_by_bit(converted, tmp_path, capsys):
    which, _, model, folder = converted
    conversion.to_torch(folder / "ours", tmp_path / "back", verify=which == "SiT")
    assert {path.name for path in (tmp_path / "back").iterdir()} == {
        "model.safetensors",
        "config.json",
        "parity.json",
    }
    back, public = load_file(tmp_path / "back" / "model.safetensors"), model.state_dict()
    assert set(back) == set(public)
    assert all(torch.equal(back[name], public[name]) for name in public)
    assert rules.from_json((tmp_path / "back" / "config.json").read_text()).model.family == "dit"
    assert "model.safetensors" in capsys.readouterr().out


def test_inspect_counts_its_blocks(converted, capsys):
    _, config, _, folder = converted
    assert inspection.inspect(folder / "0400000.pt", config)
    printed = capsys.readouterr().out
    assert "tensors under 'ema'" in printed
    assert (
        f"{conversion.number_of_parameters(conversion.architecture(config)):,} parameters, 2 blocks"
        in printed
    )
    assert "blocks.0.attn.qkv.weight [96, 32]" in printed
    assert "blocks.1.attn" not in printed


@pytest.mark.parametrize("family", ["dam", "full3d"])
def test_other_families_have_no_layout(converted, family, tmp_path, capsys):
    _, _, _, folder = converted
    arguments = ["from-torch", str(folder / "0400000.pt"), "--config=configs/c2i_digits.py"]
    arguments += [f"--config.model.family={family}", "--out", str(tmp_path / "out")]
    assert cli.run(lambda: convert.main(convert.parse(arguments))) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        f"model.family='{family}' has no PyTorch layout; conversions take 'ptdit', 'dit' and 'pixart'" in line
    )
