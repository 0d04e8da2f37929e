"""Programs compile fast, parity is checked on one input where a test is not about it, PyTorch has one thread."""

import importlib
import sys

import pytest
import torch

from ptdit_jax.convert import export, parity
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
        for name, module in export.COPIED.items():
            patch.setitem(sys.modules, name, importlib.import_module(module))
        for file in export.FILES:
            name, _, suffix = file.partition(".")
            if suffix == "py":
                patch.setitem(sys.modules, name, importlib.import_module(f"{export.__name__}.{name}"))
        yield sys.modules["sample"]
