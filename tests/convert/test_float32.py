"""Parity checks compute in float32, whatever PyTorch is told otherwise."""

import contextlib

import pytest
import torch

from configs import common
from ptdit_jax import models
from ptdit_jax.convert import parity


@contextlib.contextmanager
def less_precise():
    """PyTorch's products of float32 in bfloat16, where the machine can."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def error(product, a, b):
    return float((product(a, b) - product(a.double(), b.double())).abs().max())


@pytest.mark.parametrize(
    ("product", "shapes"),
    [
        (torch.matmul, [(256, 256), (256, 256)]),
        (torch.nn.functional.conv2d, [(1, 16, 16, 16), (16, 16, 3, 3)]),
    ],
)
def test_products_of_the_check_are_of_float32(product, shapes):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(shape, generator=generator) for shape in shapes)
    with less_precise(), parity._float32():
        assert error(product, a, b) < 2e-4


def test_the_check_runs_so_and_leaves_pytorch_as_it_was(monkeypatch):
    seen = []

    class Module(torch.nn.Module):
        def __init__(self, *_, **__):
            super().__init__()

        def forward(self, x, *_, **__):
            seen.append(torch._C._get_mkldnn_enabled())
            return x

    model = common.get_config().model
    model.update({"variant": "custom", "depth": 2, "width": 32, "heads": 2, "classes": 10})
    arch = models.architecture(model, (1, 2, 2), learn_variance=False)
    monkeypatch.setattr(parity.modeling_ptdit, "PTDiT", Module)
    before = torch._C._get_mkldnn_enabled()
    parity.run_torch(arch, lambda name: pytest.fail(name), parity.cases(arch, (1, 2, 2)))
    assert seen
    assert not any(seen)
    assert torch._C._get_mkldnn_enabled() == before
