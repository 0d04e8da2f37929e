"""Class-conditional PT-DiT on the 1,797 real 8x8 digits that scikit-learn ships.

python -m ptdit_jax.train --config configs/c2i_digits.py
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """A small network, one token a pixel, windows of 2x2 tokens."""
    config = common.get_config()

    model = config.model
    model.variant = "custom"
    model.depth = 6
    model.width = 96
    model.heads = 4
    model.patch = 1
    model.channels = 1
    model.sample_size = 8
    model.classes = 10

    config.data.name = "digits"
    config.data.height = 8
    config.data.width = 8
    config.data.pixels_per_latent = 1
    config.data.batch = 128
    config.compression.fixed = (1, 2, 2)

    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 100
    config.train.steps = 2000
    config.train.ema_decays = (0.999,)
    config.checkpoint.every = 200

    config.sampling.guidance = 2.0
    config.sampling.count = 100
    config.sampling.batch = 100
    config.sampling.ema = 0.999
    config.evaluation.name = "digits"
    config.evaluation.count = 500
    return config
