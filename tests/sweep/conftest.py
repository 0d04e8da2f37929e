"""Sweeps of the tiny runs of `tests/training`."""

import pytest

from tests.launch.conftest import environment
from tests.training.conftest import TINY

__all__ = ["environment"]

FIELDS = TINY | {"train.steps": 12, "checkpoint.every": 3, "train.log_every": 2}


@pytest.fixture(scope="session")
def sweep_file(tmp_path_factory):
    """A function: writes a sweep of these points, over the tiny run, and returns its path."""

    def make(points, base="configs/c2i_digits.py", sizes=("digits",)):
        path = tmp_path_factory.mktemp("sweep") / "tiny_sweep.py"
        bases = dict.fromkeys(sizes, base)
        path.write_text(
            f'"""A tiny sweep.\n\n    python -m ptdit_jax.sweep tiny\n\nOf <few> steps.\n"""\n\nBASES = {bases!r}\n\n\n'
            f"def points(size):\n    for name, fields in {points!r}:\n"
            f"        yield name, {FIELDS!r} | fields\n"
        )
        return str(path)

    return make
