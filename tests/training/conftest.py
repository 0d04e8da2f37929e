"""Compiled programs are shared by the tests of this folder, and a small network trains in every run of it."""

import os

import jax
import pytest

TINY = {
    "model.depth": 2,
    "model.width": 32,
    "model.heads": 2,
    "model.patch": 1,
    "model.shift_every": 1,  # one block to compile, not two
    "model.unroll": 1,
    "optimizer.learning_rate": 1e-3,
    "sampling.sampler": "euler",
    "sampling.guidance_interval": (0.0, 1.0),
    "data.batch": 16,
    "optimizer.schedule": "constant",
    "optimizer.warmup_steps": 2,
    "train.steps": 24,
    "train.ema_decays": (0.9, 0.99),
    "checkpoint.every": 5,
    "checkpoint.keep": 2,
    "sampling.steps": 2,
    "sampling.count": 20,
    "sampling.batch": 40,
    "sampling.ema": 0.9,
    "evaluation.count": 40,
}
"""What makes `configs/c2i_digits.py` a run of a second."""


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """A folder of compiled programs for these tests and the processes they start."""
    folder = str(tmp_path_factory.mktemp("xla"))
    options = {
        "jax_compilation_cache_dir": folder,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: jax.config.values[name] for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
        del os.environ[name.upper()]


@pytest.fixture(scope="session")
def tiny():
    """A function: the tiny config with other fields, and the command line that says the same."""

    def make(**fields):
        from configs import c2i_digits

        wanted = TINY | {name.replace("__", "."): value for name, value in fields.items()}
        config = c2i_digits.get_config()
        config.update_from_flattened_dict(wanted)
        return config, [f"--config.{name}={value}" for name, value in wanted.items()]

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny):
    """The folder of a short run."""
    from ptdit_jax import train

    workdir = tmp_path_factory.mktemp("trained") / "run"
    fields = {"train__steps": 6, "evaluation__name": "none", "sampling__count": 2, "sampling__batch": 2}
    assert train.main(tiny(**fields)[0], workdir) == 0
    return workdir
