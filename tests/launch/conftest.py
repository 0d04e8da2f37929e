"""The tiny runs of `tests/training`, and what the processes of these tests share."""

import pytest

from tests.training.conftest import tiny

__all__ = ["tiny"]


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Variables for the processes that these tests start: a folder of compiled programs, which compile sooner."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("xla")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.0",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
