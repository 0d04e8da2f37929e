"""Resizes are PyTorch's."""

import jax
import numpy as np
import pytest
import torch

from ptdit_jax.features import resize
from tests.models.tiny import FAST

OPTIONS = {
    resize.bilinear: {"mode": "bilinear", "align_corners": False},
    resize.aligned: {"mode": "bilinear", "align_corners": True},
    resize.cubic: {"mode": "bicubic", "align_corners": False},
}


@pytest.mark.parametrize("size", [(1, 1), (37, 15), (20, 24)])
@pytest.mark.parametrize("ours", OPTIONS, ids=lambda ours: ours.__name__)
def test_resizes_are_torchs(ours, size):
    shown = np.random.default_rng(0).uniform(-1, 1, (2, 3, 20, 24, 2)).astype(np.float32)
    flat = torch.from_numpy(shown.reshape(6, 20, 24, 2).transpose(0, 3, 1, 2))
    wanted = torch.nn.functional.interpolate(flat, size=size, **OPTIONS[ours])
    found = np.asarray(jax.jit(ours, static_argnums=1, compiler_options=FAST)(shown, size))
    assert found.shape == (2, 3, *size, 2)
    np.testing.assert_allclose(
        found, wanted.numpy().transpose(0, 2, 3, 1).reshape(2, 3, *size, 2), atol=1e-4, rtol=0
    )
