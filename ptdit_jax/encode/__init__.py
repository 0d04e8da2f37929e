"""Raw pictures, films and captions, encoded into shards: `python -m ptdit_jax.encode`."""
