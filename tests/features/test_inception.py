"""Inception-v3 of FID equals torch-fidelity's on random weights in the published layout."""

import jax
import numpy as np
import pytest
import torch

from ptdit_jax.features import inception, resize
from tests.features import published
from tests.models.tiny import FAST


@pytest.fixture(scope="module")
def tensors():
    """Random weights."""
    return published.inception_tensors()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The same in a file."""
    return published.inception_file(tmp_path_factory.mktemp("inception"))


def images(side, count=2):
    """uint8 (N, side, side + 3, 3), smooth and rough."""
    rng = np.random.default_rng(side)
    return rng.integers(0, 256, (count, side, side + 3, 3)).astype(np.uint8)


def test_features_are_those_of_torch_fidelity(file):
    extractor = published.inception_oracle(file, ["2048", "logits_unbiased"])
    spatial = []
    extractor.Mixed_6d.branch1x1.register_forward_hook(lambda *given: spatial.append(given[-1]))
    shown = images(40)
    pooled, logits = extractor(torch.from_numpy(shown.transpose(0, 3, 1, 2)))
    params, digest = inception.load(file)
    assert len(digest) == 64
    found = jax.jit(inception.apply, compiler_options=FAST)(params, shown)
    assert found.pooled.shape == (2, 2048)
    assert found.spatial.shape == (2, 2023)
    assert found.logits.shape == (2, 1008)
    near = {"rtol": 1e-4, "atol": 1e-4 * float(pooled.abs().max())}
    np.testing.assert_allclose(found.pooled, pooled.numpy(), **near)
    np.testing.assert_allclose(found.logits, logits.numpy(), rtol=1e-4, atol=1e-4 * float(logits.abs().max()))
    wanted = spatial[0][:, :7].permute(0, 2, 3, 1).reshape(2, -1).numpy()
    np.testing.assert_allclose(found.spatial, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert found.pooled.std() > 0.01


@pytest.mark.parametrize("side", [32, 299, 400])
def test_the_resize_is_tensorflow_ones(side):
    module = published.fidelity("interpolate_compat_tensorflow")
    shown = images(side).astype(np.float32)
    wanted = module.interpolate_bilinear_2d_like_tensorflow1x(
        torch.from_numpy(shown.transpose(0, 3, 1, 2)), size=(299, 299), align_corners=False
    )
    np.testing.assert_allclose(
        resize.tensorflow1(shown, 299), wanted.numpy().transpose(0, 2, 3, 1), atol=1e-3
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"fc.bias": None}, r"lacks fc.bias \(1008,\): it is no Inception-v3 of FID"),
        ({"fc.weight": torch.zeros(1000, 2048)}, r"fc.weight is \(1000, 2048\) and must be \(1008, 2048\)"),
        ({"AuxLogits.fc.weight": torch.zeros(3)}, "holds AuxLogits.fc.weight, of which"),
    ],
)
def test_a_file_of_another_network_is_a_line(tensors, tmp_path, change, line):
    given = {name: value for name, value in (tensors | change).items() if value is not None}
    torch.save(given, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=line):
        inception.load(tmp_path / "a.pth")
