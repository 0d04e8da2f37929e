"""Recipes of the tiny runs of `tests/training`."""

import pytest

from tests.launch.conftest import environment
from tests.training.conftest import TINY

__all__ = ["environment"]

FIELDS = TINY | {"model.sample_size": 8, "train.steps": 12, "checkpoint.every": 3, "train.log_every": 2}
FIELDS |= {"evaluation.name": "none", "sampling.count": 2, "sampling.batch": 2}


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory):
    """A function: writes a recipe of (name, init_from, fields) over the tiny run, and returns its path."""

    def make(stages, config="configs/c2i_digits.py"):
        path = tmp_path_factory.mktemp("recipe") / "tiny.py"
        path.write_text(
            "from configs.recipes.common import Stage\n\n\ndef get_recipe():\n"
            f"    for name, before, fields in {stages!r}:\n"
            f"        yield Stage(name=name, config={config!r}, init_from=before, fields={FIELDS!r} | fields)\n"
        )
        return str(path)

    return make
