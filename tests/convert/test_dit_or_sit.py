"""DiT's and SiT's files look alike: what tells them is used, what is assumed is said, and the wrong one is refused."""

import argparse

import pytest
import torch

from ptdit_jax.convert import conversion, dit_or_sit, layouts, matching, weights
from tests.convert import published, small

SIT = {"model__time_input": "1-t", "diffusion__path": "flow", "diffusion__prediction": "velocity"}
SIT |= {"diffusion__learn_variance": False, "sampling__sampler": "euler"}
OWN = {**SIT, "model__time_input": "1000t"}


@pytest.fixture(scope="module")
def state():
    """A state dict of DiT's code, random."""
    return small.released_tensors(published.dit_config())


def as_sit_leaves_it(state):
    """SiT never trains the second half of its outputs, which start at zero."""
    weight = state["final_layer.linear.weight"].clone().unflatten(0, (4, 2, 2))  # (p·p, half, C, D)
    weight[:, 1] = 0
    return state | {"final_layer.linear.weight": weight.flatten(0, 2)}


def saved(state, file, model=None, raw=None):
    """What the training scripts of both write."""
    file.parent.mkdir(parents=True, exist_ok=True)
    args = argparse.Namespace(model=model, image_size=256, data_path="/data", ckpt=None, lr=1e-4)
    content = {"model": raw or state, "ema": state, "opt": {"state": {}, "param_groups": [{"lr": 1e-4}]}}
    torch.save(content | ({"args": args} if model else {}), file)
    return file


def match(file, **changes):
    config = published.dit_config(**changes)
    return matching.match(weights.open_weights(file), conversion.architecture(config), config)


@pytest.mark.parametrize(("model", "config"), [("DiT-XL/2", SIT), ("SiT-XL/2", {}), ("SiT-S/8", OWN)])
def test_the_args_of_the_other_are_refused(state, model, config, tmp_path):
    file = saved(state, tmp_path / "0400000.pt", model)
    with pytest.raises(ValueError, match=f"is of {model[:3]}: its args have model='{model}', but the config"):
        match(file, **config)


@pytest.mark.parametrize(("model", "config"), [("DiT-XL/2", {}), ("SiT-XL/2", SIT)])
def test_the_args_that_agree_are_named(state, model, config, tmp_path, capsys):
    assert match(saved(state, tmp_path / "0400000.pt", model), **config) is layouts.named("dit")
    captured = capsys.readouterr()
    assert captured.out == f"{model[:3]}, by the args in the file: model='{model}'\n"
    assert not captured.err


def test_a_training_checkpoint_converts(state, tmp_path):
    """The whole way, with the `argparse.Namespace` in the file; the average is taken."""
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    file = saved(state, tmp_path / "0400000.pt", "DiT-XL/2", raw=other)
    config = published.dit_config()
    conversion.from_torch(file, config, tmp_path / "ours", verify=False)
    back = layouts.named("dit").to_tensors(
        published.parameters(tmp_path / "ours", config), conversion.architecture(config)
    )
    assert all(torch.equal(torch.tensor(back[name]), state[name]) for name in back)


def test_zero_variance_is_sit(state, tmp_path, capsys):
    file = saved(as_sit_leaves_it(state), tmp_path / "w.pt")
    with pytest.raises(ValueError, match="outputs for the variance are all zero, as SiT leaves them"):
        match(file)
    match(file, **SIT)
    assert not capsys.readouterr().err


def test_a_trained_variance_is_no_sit(state, tmp_path, capsys):
    match(saved(state, tmp_path / "w.pt"), **SIT)
    assert "warning: " in (line := capsys.readouterr().err)
    assert "variance are trained, which DiT does and SiT does not; it is taken as SiT's" in line


@pytest.mark.parametrize(
    ("name", "config", "kind", "taken"),
    [
        ("SiT-XL-2-256x256.pt", {}, "SiT", "DiT's"),
        ("000-SiT-XL-2-Linear-velocity-None/checkpoints/0050000.pt", {}, "SiT", "DiT's"),
        ("DiT/SiT-XL-2.pt", {}, "SiT", "DiT's"),
        ("DiT-XL-2-256x256.pt", SIT, "DiT", "SiT's"),
        ("dit.pt", OWN, "DiT", "neither DiT's nor SiT's"),
    ],
)
def test_a_name_of_the_other_is_a_warning(state, name, config, kind, taken, tmp_path, capsys):
    match(saved(state, tmp_path / name), **config)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: ")
    assert (
        f"looks by its name like {kind}; it is taken as {taken}, as the config has it (model.time_input="
        in line
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [("weights.pt", "DiT's, assumed, as the config has it"), ("DiT-XL-2.pt", "DiT's, by its name")],
)
def test_what_is_assumed_is_said(state, name, said, tmp_path, capsys):
    match(saved(state, tmp_path / name))
    captured = capsys.readouterr()
    assert captured.out.startswith(said)
    assert "the weights alone do not tell DiT from SiT" in captured.out
    assert not captured.err


def test_the_heads_of_the_variant(state, tmp_path):
    """No shape tells the number of heads; the arguments do."""
    arch = conversion.architecture(published.dit_config())
    dit_or_sit._check_variant(tmp_path, "DiT-XL/2", arch)  # of another width: the shapes say that
    config = small.config(**published.DIT | {"model__width": 384, "model__heads": 12})
    with pytest.raises(ValueError, match=r"is of DiT-S/2, which has 6 heads; model.heads=12"):
        dit_or_sit._check_variant(tmp_path, "DiT-S/2", conversion.architecture(config))


def test_an_export_is_read_back_with_its_own_config_only(tmp_path):
    config = published.dit_config(**SIT)
    params = small.random_params(config)
    run = small.write_checkpoint(tmp_path / "run", config, **{"ema_0.9": params})
    conversion.to_torch(run, tmp_path / "export", verify=False)
    assert match(tmp_path / "export", **SIT)
    with pytest.raises(ValueError, match=r"config.json has model.time_input='1-t', the config '1000t'"):
        match(tmp_path / "export", **OWN)
