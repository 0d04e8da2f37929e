"""Films as networks of PyTorch have them, and how near what these say must be."""

import numpy as np
import torch


def drawn(*shape, low, high):
    """(N, F, H, W, 3) float32 of a shape (N, F, H, W), between two numbers."""
    return np.random.default_rng(sum(shape)).uniform(low, high, (*shape, 3)).astype(np.float32)


def of_torch(shown):
    """The same films as PyTorch has them."""
    return torch.from_numpy(shown.transpose(0, 4, 1, 2, 3))


def assert_near(found, wanted):
    """Within 1e-4 of the largest."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
