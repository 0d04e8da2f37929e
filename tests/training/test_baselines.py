"""Every baseline trains, saves and samples as PT-DiT does."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import c2i_digits, common, video_digits
from ptdit_jax import sample, train
from ptdit_jax.experiment import build
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.program import make_program
from tests.models.tiny import FAST

SMALL = {
    "model.variant": "custom",
    "model.depth": 2,
    "model.width": 32,
    "model.heads": 2,
    "model.mediators": (1, 2, 2),
    "model.unroll": 1,
    "data.batch": 8,
    "optimizer.learning_rate": 1e-2,
    "optimizer.schedule": "constant",
    "optimizer.warmup_steps": 5,
    "train.steps": 40,
    "train.ema_decays": (0.9,),
    "sampling.ema": 0.9,
    "sampling.sampler": "euler",
    "sampling.steps": 2,
    "sampling.count": 2,
    "sampling.batch": 2,
    "evaluation.name": "none",
}


@pytest.mark.parametrize(
    ("family", "experiment", "fields"),
    [
        ("dit", c2i_digits, {"model.time_input": "1-t"}),
        ("dam", c2i_digits, {}),
        ("full3d", video_digits, {"data.batch": 4}),
        ("factorized", video_digits, {"data.batch": 4}),
    ],
    ids=["dit", "dam", "full3d", "factorized"],
)
def test_it_learns_and_a_checkpoint_is_sampled(family, experiment, fields, tmp_path):
    config = experiment.get_config()
    config.update_from_flattened_dict(SMALL | fields | {"model.family": family})
    assert train.main(config, tmp_path) == 0
    with (tmp_path / "metrics.csv").open() as file:
        loss = np.array([float(row["loss"]) for row in csv.DictReader(file)])
    assert loss[-8:].mean() < 0.7 * loss[:4].mean()
    out = tmp_path / "again.png"
    arguments = ["--checkpoint", str(tmp_path), "--count=2", "--steps=2", f"--out={out}"]
    assert sample.main(sample.parse(arguments)) == 0
    assert out.exists()


def test_pixart_learns_a_batch():
    """The step of a text-conditional run, on random latents and states."""
    config = common.get_config()
    config.update_from_flattened_dict(SMALL)
    config.model.update({"family": "pixart", "condition": "text", "text_dim": 12, "text_length": 5})
    config.data.update({"height": 8, "width": 8})
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    program = make_program(config, build(config, mesh=mesh), mesh)
    state = program.init.lower(jax.random.key(0)).compile(compiler_options=FAST)(jax.random.key(0))
    step = program.lower().compile(compiler_options=FAST)
    key = jax.random.key(1)
    batch = {
        "x": jax.random.normal(key, program.batch["x"].shape),
        "text": jax.random.normal(key, program.batch["text"].shape),
        "text_mask": jnp.arange(5)[None] < jnp.arange(1, 9)[:, None],
    }
    batch = {name: jax.device_put(batch[name], program.batch_sharding) for name in program.batch}
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch, jax.device_put(key, program.key.sharding))
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
