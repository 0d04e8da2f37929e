"""Every baseline learns in the program that `train` runs, and the entry points take one like any other network."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common, video_digits
from ptdit_jax import train
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import make_program
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.sample import __main__ as sample
from tests.models.tiny import FAST

SMALL = {
    "model.variant": "custom",
    "model.depth": 1,
    "model.width": 32,
    "model.heads": 2,
    "model.mediators": (1, 2, 2),
    "data.batch": 4,
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
}


def test_a_run_learns_and_its_checkpoint_is_sampled(tmp_path):
    config = video_digits.get_config()
    config.update_from_flattened_dict(SMALL | {"model.family": "factorized"})
    assert train.main(config, tmp_path) == 0
    with (tmp_path / "metrics.csv").open() as file:
        loss = np.array([float(row["loss"]) for row in csv.DictReader(file)])
    assert loss[-8:].mean() < 0.7 * loss[:4].mean()
    out = tmp_path / "again.png"
    arguments = ["--checkpoint", str(tmp_path), "--count=2", "--steps=2", f"--out={out}"]
    assert sample.main(sample.parse(arguments)) == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("family", "condition", "frames"),
    [("dit", "class", 1), ("dam", "class", 1), ("pixart", "text", 1), ("full3d", "none", 3)],
)
def test_it_learns_a_batch(family, condition, frames):
    config = common.get_config()
    config.update_from_flattened_dict(SMALL)
    config.model.update({"family": family, "condition": condition, "text_dim": 12, "text_length": 5})
    config.data.update({"height": 8, "width": 8, "frames": frames})
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    null = (np.zeros((5, 12), np.float32), np.arange(5) < 1)
    program = make_program(config, build(config, mesh=mesh, null_text=null), mesh)
    state = program.init.lower(jax.random.key(0)).compile(compiler_options=FAST)(jax.random.key(0))
    step = program.lower().compile(compiler_options=FAST)
    key, samples = jax.random.key(1), config.data.batch
    batch = {
        "x": jnp.broadcast_to(
            jnp.linspace(-2, 2, samples)[:, None, None, None, None], program.batch["x"].shape
        ),
        "label": jnp.arange(samples),
        "text": jax.random.normal(key, (samples, 5, 12)),
        "text_mask": jnp.arange(5)[None] <= jnp.arange(samples)[:, None],
    }
    batch = {name: jax.device_put(batch[name], program.batch_sharding) for name in program.batch}
    losses = []
    for _ in range(40):
        state, metrics = step(state, batch, jax.device_put(key, program.key.sharding))
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-8:]) < 0.5 * np.mean(losses[:4])
