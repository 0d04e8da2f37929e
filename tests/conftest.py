"""What every test runs under: the CPU, no display, and the same hypothesis examples each time."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis

hypothesis.settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=30)
hypothesis.settings.load_profile("deterministic")
