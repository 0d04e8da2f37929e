"""What every test runs under: the CPU, no display, what entry points pin, and the same hypothesis examples."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis

from ptdit_jax.processes import environment

environment.pin()

hypothesis.settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=30)
hypothesis.settings.load_profile("deterministic")
