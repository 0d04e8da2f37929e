"""The small experiments learn: a short run of each with a small network, until its loss has fallen."""

import csv

import numpy as np
import pytest

from configs import t2i_digits, uncond_digits, video_digits
from ptdit_jax import train

SHORT = {
    "model.depth": 2,
    "model.width": 32,
    "model.heads": 2,
    "optimizer.learning_rate": 3e-3,
    "optimizer.schedule": "constant",
    "optimizer.warmup_steps": 10,
    "train.steps": 120,
    "train.ema_decays": (0.9,),
    "sampling.ema": 0.9,
    "sampling.steps": 2,
    "sampling.count": 2,
    "evaluation.count": 20,
}


@pytest.mark.parametrize(
    ("experiment", "batch", "factor", "files"),
    [
        (uncond_digits, 32, 2.0, {"samples.png"}),
        (t2i_digits, 32, 2.0, {"samples.png", "evaluation.json"}),
        # Most of a video is background.
        pytest.param(video_digits, 4, 4.0, {"samples.png", "samples.gif"}, marks=pytest.mark.full),
    ],
    ids=["uncond_digits", "t2i_digits", "video_digits"],
)
def test_the_loss_falls(experiment, batch, factor, files, tmp_path):
    config = experiment.get_config()
    config.update_from_flattened_dict(SHORT | {"data.batch": batch})
    assert train.main(config, tmp_path) == 0
    with (tmp_path / "metrics.csv").open() as file:
        loss = np.array([float(row["loss"]) for row in csv.DictReader(file)])
    assert loss[-10:].mean() < loss[:5].mean() / factor
    assert files <= {path.name for path in tmp_path.iterdir()}
