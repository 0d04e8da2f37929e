"""Inception-3D equals its restatement in PyTorch on random weights in VideoGPT's layout."""

import functools

import jax
import numpy as np
import pytest
import torch

from ptdit_jax.features import i3d
from tests.features import i3d_oracle, published
from tests.features.of_films import assert_near, drawn, of_torch
from tests.models.tiny import FAST


@pytest.fixture(scope="module")
def tensors():
    """Random weights."""
    return published.i3d_tensors()


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    """The same, of a file."""
    found, digest = i3d.load(published.i3d_file(tmp_path_factory.mktemp("i3d")))
    assert len(digest) == 64
    return found


films = functools.partial(drawn, low=-1, high=1)


@pytest.mark.parametrize("shape", [(2, 9, 32, 32), (1, 10, 33, 47), (1, 5, 40, 18)])
def test_maps_of_odd_and_even_sizes_are_those_of_torch(tensors, params, shape):
    shown = films(*shape)
    wanted = i3d_oracle.maps(tensors, of_torch(shown)).numpy().transpose(0, 2, 3, 4, 1)
    found = jax.jit(i3d.maps, compiler_options=FAST)(params, shown)
    assert found.shape == (shape[0], *(-(-side // step) for side, step in zip(shape[1:], (8, 32, 32))), 1024)
    assert wanted.std() > 0.1
    assert_near(found, wanted)


def test_a_block_alone_is_that_of_torch(tensors, params):
    shown = np.abs(films(1, 3, 5, 4)[..., :1] + np.arange(192, dtype=np.float32) / 192)
    (block,) = (block for block in i3d.BLOCKS if block[0] == "Mixed_3b")
    wanted = i3d_oracle.mixed(tensors, "Mixed_3b", of_torch(shown)).numpy().transpose(0, 2, 3, 4, 1)
    assert_near(i3d.maps(params, shown, (block,)), wanted)


@pytest.mark.full
@pytest.mark.parametrize("frames", [9, 16])
def test_features_are_those_of_torch(tensors, params, frames):
    shown = films(1, frames, 224, 224)
    logits, pooled = i3d_oracle.logits(tensors, of_torch(shown))
    found = jax.jit(i3d.apply, compiler_options=FAST)(params, shown)
    assert pooled.shape[2] == 1
    assert found.logits.shape == (1, 400)
    assert found.pooled.shape == (1, 1024)
    assert found.logits.std() > 0.01
    assert_near(found.logits, logits.numpy())
    assert_near(found.pooled, pooled.mean(2).numpy())


@pytest.mark.full
def test_longer_films_are_pooled_at_several_times(tensors, params):
    shown = films(1, 18, 224, 224)
    logits, pooled = i3d_oracle.logits(tensors, of_torch(shown))
    found = jax.jit(i3d.apply, compiler_options=FAST)(params, shown)
    assert pooled.shape[2] == 2
    assert_near(found.logits, logits.numpy())
    assert_near(found.pooled, pooled.mean(2).numpy())


@pytest.mark.parametrize("shape", [(1, 8, 224, 224), (1, 16, 224, 225), (16, 224, 224)])
def test_films_of_another_shape_are_a_line(params, shape):
    with pytest.raises(ValueError, match=r"must be \(N, 9 frames or more, 224, 224, 3\)"):
        i3d.apply(params, np.zeros((*shape, 3), np.float32))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"logits.conv3d.bias": None}, r"lacks logits.conv3d.bias \(400,\): it is no Inception-3D"),
        (
            {"Mixed_3b.b1b.conv3d.weight": torch.zeros(128, 96, 1, 3, 3)},
            r"Mixed_3b.b1b.conv3d.weight is \(128, 96, 1, 3, 3\) and must be \(128, 96, 3, 3, 3\)",
        ),
        ({"Mixed_6a.b0.conv3d.weight": torch.zeros(3)}, "holds Mixed_6a.b0.conv3d.weight, of which"),
    ],
)
def test_a_file_of_another_network_is_a_line(tensors, tmp_path, change, line):
    given = {name: value for name, value in (tensors | change).items() if value is not None}
    torch.save(given, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=line):
        i3d.load(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_program_is_a_line(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "i3d_torchscript.pt")
    with pytest.raises(ValueError, match=r"is a program \(TorchScript\), which is not run"):
        i3d.load(tmp_path / "i3d_torchscript.pt")
