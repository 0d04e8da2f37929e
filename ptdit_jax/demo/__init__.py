"""A page to try a trained model: `python -m ptdit_jax.demo`."""
