"""Pictures, films and turntables from a trained model: `python -m ptdit_jax.sample`."""
