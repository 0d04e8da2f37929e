"""What a trained network does, measured: `python -m ptdit_jax.analyze`."""
