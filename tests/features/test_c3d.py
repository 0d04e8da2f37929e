"""C3D equals its restatement in PyTorch on random weights in the layout of the file."""

import functools

import jax
import numpy as np
import pytest
import torch

from ptdit_jax import cli
from ptdit_jax.evaluate import c3d as converter
from ptdit_jax.features import c3d
from tests.features import c3d_oracle, published
from tests.features.of_films import assert_near, drawn, of_torch
from tests.models.tiny import FAST


@pytest.fixture(scope="module")
def tensors():
    """Random weights."""
    return published.c3d_tensors()


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    """The same, of a file."""
    found, digest = c3d.load(published.c3d_file(tmp_path_factory.mktemp("c3d")))
    assert len(digest) == 64
    return found


films = functools.partial(drawn, low=-100, high=150)  # as of pixels less a mean


@pytest.mark.parametrize("shape", [(1, 16, 32, 48), (2, 16, 16, 50)])
def test_maps_are_those_of_torch_and_the_last_pool_covers_what_is_left(tensors, params, shape):
    shown = films(*shape)
    wanted = c3d_oracle.network(tensors).maps(of_torch(shown)).numpy().transpose(0, 2, 3, 4, 1)
    found = jax.jit(c3d.maps, compiler_options=FAST)(params.layers, shown)
    assert found.shape == (shape[0], 1, 1, 2, 512)
    assert wanted.std() > 1
    assert_near(found, wanted)


def test_the_dense_layers_take_the_channels_first(tensors, params, monkeypatch):
    maps = 100 * np.random.default_rng(0).normal(size=(2, 1, 4, 4, 512)).astype(np.float32)
    monkeypatch.setattr(c3d, "maps", lambda layers, films: maps)
    wanted = c3d_oracle.network(tensors).head(of_torch(maps)).numpy()
    assert_near(c3d.apply(params.layers, np.zeros((2, 16, 112, 112, 3), np.float32)), wanted)


@pytest.mark.full
def test_logits_are_those_of_torch(tensors, params):
    shown = films(2, 16, 112, 112)
    wanted = c3d_oracle.network(tensors)(of_torch(shown)).numpy()
    found = jax.jit(c3d.apply, compiler_options=FAST)(params.layers, shown)
    assert found.shape == (2, 101)
    assert wanted.std() > 0.1
    assert_near(found, wanted)


@pytest.mark.parametrize("shape", [(1, 15, 112, 112), (1, 16, 112, 113), (16, 112, 112)])
def test_films_of_another_shape_are_a_line(shape):
    with pytest.raises(ValueError, match=r"must be \(N, 16, 112, 112, 3\)"):
        c3d.apply({}, np.zeros((*shape, 3), np.float32))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"mean": None}, r"lacks mean \(3, 16, 128, 171\): it is no C3D with 101 classes"),
        (
            {"fc8.weight": torch.zeros(487, 4096)},
            r"fc8.weight is \(487, 4096\) and must be \(101, 4096\)",  # of Sports-1M
        ),
        ({"conv5c.weight": torch.zeros(3)}, "holds conv5c.weight, of which"),
    ],
)
def test_a_file_of_another_network_is_a_line(tmp_path, change, line):
    small = {name: torch.zeros(()).expand(shape) for name, shape in c3d.shapes().items()}
    given = {name: value for name, value in (small | change).items() if value is not None}
    torch.save(given, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=line):
        c3d.load(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_program_is_a_line(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "c3d_ucf101.pt")
    with pytest.raises(ValueError, match=r"is a program \(TorchScript\), which is not run"):
        c3d.load(tmp_path / "c3d_ucf101.pt")


def published_files(folder, change=None):
    """Small stand-ins of what TGANv2 publishes, and what is in them."""
    rng = np.random.default_rng(0)
    chainer, arrays = {}, {}
    for name, shape in c3d.shapes().items():
        arrays[name] = rng.normal(size=shape).astype(np.float32)
        if name != "mean":
            layer, part = name.split(".")
            chainer[f"{layer}/{'W' if part == 'weight' else 'b'}"] = arrays[name]
    chainer["pre/W"] = np.zeros(3)
    np.savez(folder / "conv3d.npz", **chainer | (change or {}))
    np.savez(folder / "mean2.npz", mean=arrays["mean"][None])
    return arrays


@pytest.fixture
def narrow(monkeypatch):
    """A network of few features."""
    blocks = tuple((names, 4, frames) for names, _, frames in c3d.BLOCKS)
    monkeypatch.setattr(c3d, "BLOCKS", blocks)
    monkeypatch.setattr(c3d, "DENSE", {"fc6": (8, 4 * 16), "fc7": (8, 8), "fc8": (101, 8)})


def command(folder, **changes):
    """The command line of the conversion."""
    given = {"weights": folder / "conv3d.npz", "mean": folder / "mean2.npz", "out": folder / "a.safetensors"}
    return [f"--{name}={value}" for name, value in (given | changes).items()]


def test_what_tgan2_publishes_becomes_the_file(tmp_path, narrow):
    arrays = published_files(tmp_path)
    assert cli.run(lambda: converter.main(converter.parse(command(tmp_path)))) == 0
    params, _ = c3d.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(params.mean, arrays["mean"].transpose(1, 2, 3, 0))
    kernel, bias = params.layers["conv3b"]
    np.testing.assert_array_equal(kernel, arrays["conv3b.weight"].transpose(2, 3, 4, 1, 0))
    np.testing.assert_array_equal(bias, arrays["conv3b.bias"])
    assert sorted(params.layers) == sorted({name.split(".")[0] for name in arrays if name != "mean"})


@pytest.mark.parametrize(
    ("change", "words", "line"),
    [
        ({"fc8/W": np.zeros((487, 8))}, {}, "conv3d.npz: fc8/W is (487, 8) and must be (101, 8)"),
        ({"fc8/b": np.arange(101)}, {}, "conv3d.npz: fc8/b is int64 and must be of floating-point numbers"),
        (None, {"mean": "PLACE/conv3d.npz"}, "conv3d.npz lacks mean"),
        (None, {"weights": "PLACE/no.npz"}, "no.npz: there is no such file"),
        (None, {"weights": "PLACE/text.npz"}, "text.npz is no .npz"),
        (None, {"out": "PLACE/a.pt"}, "a.pt"),
    ],
)
def test_what_is_wrong_with_them_is_a_line(tmp_path, narrow, capsys, change, words, line):
    published_files(tmp_path, change)
    (tmp_path / "text.npz").write_text("text")
    given = {name: value.replace("PLACE", str(tmp_path)) for name, value in words.items()}
    assert cli.run(lambda: converter.main(converter.parse(command(tmp_path, **given)))) != 0
    assert line in capsys.readouterr().err
    assert not (tmp_path / "a.safetensors").exists()
