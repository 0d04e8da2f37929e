"""Programs compile fast, parity is checked on one input where a test is not about it, PyTorch has one thread."""

import sys

import pytest
import torch

from ptdit_jax.convert import parity
from ptdit_jax.convert.export import modeling_ptdit, samplers
from tests.convert import small
from tests.models import tiny


@pytest.fixture(scope="session", autouse=True)
def fast():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parity.COMPILER_OPTIONS.update(tiny.FAST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "cases", lambda arch, window: small.all_cases(arch, window)[:2][-1:])
        yield
    parity.COMPILER_OPTIONS.clear()
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def exported_sample():
    """The exported sample.py as a module; the modules that it finds in its folder are the package's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "modeling_ptdit", modeling_ptdit)
        patch.setitem(sys.modules, "samplers", samplers)
        from ptdit_jax.convert.export import sample

        yield sample
