"""The field's figures of finished samples: `python -m ptdit_jax.evaluate`."""
