"""Sweeps: files that `python -m ptdit_jax.sweep` reads; see `ptdit_jax/sweep/points.py` for what one has."""
