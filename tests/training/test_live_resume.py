"""A run whose text is encoded while it trains, stopped and resumed."""

import shutil

import pytest

from ptdit_jax import train
from tests.experiment.test_live_text import live


@pytest.mark.full
def test_a_live_run_that_is_resumed_has_the_losses_of_one_that_nothing_disturbed(tmp_path):
    fields = {
        "train.steps": 8,
        "optimizer.warmup_steps": 2,
        "train.ema_decays": (0.9,),
        "checkpoint.every": 3,
        "checkpoint.keep": 3,
        "sampling.steps": 1,
        "sampling.count": 2,
        "sampling.batch": 2,
        "sampling.ema": 0.9,
        "evaluation.name": "none",
    }
    assert train.main(live(**fields), tmp_path / "whole") == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for step in ("6", "8"):
        shutil.rmtree(tmp_path / "again" / "checkpoints" / step)
    (tmp_path / "again" / "samples.png").unlink()
    assert train.main(live(**fields), tmp_path / "again") == 0
    for name in ("metrics.csv", "samples.png"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
