"""Checkpoints that nothing was trained for, and programs that compile fast."""

import json

import jax
import numpy as np
import pytest

from configs import t2i_digits
from data_pipelines.text import NULL_FILE, write_null
from ptdit_jax import config as rules
from ptdit_jax.experiment import live_text, null_text, origin
from ptdit_jax.experiment.build import build
from ptdit_jax.sample import __main__ as sample
from tests.models.tiny import FAST

SMALL = {
    "model.variant": "custom",
    "model.depth": 1,
    "model.width": 32,
    "model.heads": 2,
    "model.shift_every": 1,
    "model.text_dim": 128,
    "data.text": "live",
    "text_encoder.path": "bytes",
    "text_encoder.dtype": "float32",
    "train.ema_decays": (),
    "sampling.ema": 0.0,
    "sampling.sampler": "euler",
    "sampling.guidance_interval": (0.0, 1.0),
    "sampling.steps": 3,
    "sampling.batch": 4,
    "sampling.guidance": 2.0,
}


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """A folder of compiled programs for these tests."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("xla")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: jax.config.values[name] for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Programs that compile in a fraction of the time."""
    jit = jax.jit
    monkeypatch.setattr(jax, "jit", lambda f, **options: jit(f, **{"compiler_options": FAST} | options))
    monkeypatch.setattr(sample.cli, "enable_compilation_cache", lambda: None)


def small(**changes):
    """A text model of 8x8 pixels whose captions are encoded by the T5 of bytes."""
    config = t2i_digits.get_config()
    config.update_from_flattened_dict(
        SMALL | {name.replace("__", "."): value for name, value in changes.items()}
    )
    return config


def parameters(experiment):
    """Parameters that leave no part idle; nothing is compiled for them."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(experiment.init, jax.random.key(0))
    draw = lambda leaf: 0.2 * rng.standard_normal(leaf.shape, np.float32)  # noqa: E731
    return jax.device_put(jax.tree.map(draw, shapes))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function: config, words of the command -> exit code, with a run of that config in place of one on disk."""
    place = tmp_path / "run"
    place.mkdir()
    made = {}

    def command(config, *words):
        if config.model.condition == "text":
            write_null(place / NULL_FILE, *null_text.padded(config, live_text.null(config)))
        step = place / "checkpoints" / "7"
        step.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(origin.checkpoint, "find", lambda path: step)
        monkeypatch.setattr(origin.checkpoint, "load_config", lambda path: json.loads(rules.to_json(config)))

        def load(step, name, experiment, mesh):
            key = rules.to_json(config)  # networks do not depend on the size of samples
            made[key] = made.get(key) or parameters(build(config))
            return made[key]

        if not hasattr(origin.load_params, "kept"):
            load.kept = True
            monkeypatch.setattr(origin, "load_params", load)
        return sample.main(sample.parse([f"--checkpoint={place}", *map(str, words)]))

    return command
