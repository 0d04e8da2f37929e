"""Checkpoints that nothing was trained for, written as `train` writes them, and programs that compile fast."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import c2i_digits, t2i_digits
from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.experiment.build import build
from ptdit_jax.training import checkpoint, optimizer, state
from tests.models.tiny import FAST

SMALL = {
    "model.depth": 2,
    "model.width": 32,
    "model.heads": 2,
    "model.patch": 1,
    "model.unroll": 1,
    "compression.fixed": (1, 2, 2),
    "train.ema_decays": (0.9,),
    "sampling.ema": 0.9,
    "sampling.sampler": "euler",
    "sampling.steps": 2,
    "sampling.batch": 4,
    "sampling.guidance": 1.0,
    "sampling.guidance_interval": (0.0, 1.0),
}


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Programs that compile in a fraction of the time."""
    jit = jax.jit
    monkeypatch.setattr(jax, "jit", lambda f, **options: jit(f, **{"compiler_options": FAST} | options))
    monkeypatch.setattr(cli, "enable_compilation_cache", lambda: None)


def small(family="dit", **changes):
    """A network of 8x8 tokens, one a pixel of a digit; text for "pixart"."""
    config = (t2i_digits if family == "pixart" else c2i_digits).get_config()
    fields = SMALL | {"model.family": family, "model.shift_every": 1 if family == "ptdit" else 0}
    config.update_from_flattened_dict(
        fields | {name.replace("__", "."): value for name, value in changes.items()}
    )
    return config


def parameters(experiment, seed=0):
    """Parameters that leave no part idle; nothing is compiled for them."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(experiment.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape, np.float32)), shapes)


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A function: name, config -> the folder of a run with a checkpoint, and its averaged parameters; made once."""
    place, made = tmp_path_factory.mktemp("runs"), {}

    def save(name, config, seed=0):
        if name in made:
            return place / name, made[name]
        made[name] = parameters(build(config), seed)
        direction = optimizer.make_direction(config.optimizer)
        whole = state.create(jax.tree.map(jnp.zeros_like, made[name]), direction, ())
        whole = dataclasses.replace(whole, emas={"ema_0.9": made[name]})
        with checkpoint.Checkpoints(place / name / "checkpoints", keep=1) as checkpoints:
            key = checkpoint.key_data(jax.random.key(0))
            checkpoints.save(whole, checkpoint.Progress(3, key, {}), json.loads(rules.to_json(config)))
            checkpoints.wait()
        return place / name, made[name]

    return save
