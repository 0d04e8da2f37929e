"""The bilinear resize is PyTorch's."""

import jax
import numpy as np
import pytest
import torch

from ptdit_jax.features import resize
from tests.models.tiny import FAST


@pytest.mark.parametrize("size", [(1, 1), (37, 15), (20, 24)])
def test_bilinear_is_torchs(size):
    shown = np.random.default_rng(0).uniform(-1, 1, (2, 3, 20, 24, 2)).astype(np.float32)
    flat = torch.from_numpy(shown.reshape(6, 20, 24, 2).transpose(0, 3, 1, 2))
    wanted = torch.nn.functional.interpolate(flat, size=size, mode="bilinear", align_corners=False)
    found = np.asarray(jax.jit(resize.bilinear, static_argnums=1, compiler_options=FAST)(shown, size))
    assert found.shape == (2, 3, *size, 2)
    np.testing.assert_allclose(
        found, wanted.numpy().transpose(0, 2, 3, 1).reshape(2, 3, *size, 2), atol=1e-4, rtol=0
    )
