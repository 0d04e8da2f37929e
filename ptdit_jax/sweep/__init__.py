"""Sweeps: many runs of `ptdit_jax.train` that differ in a few fields, planned, run and compared."""
