"""Class-conditional PT-DiT on the 1,797 real 8x8 digits that scikit-learn ships; what `launch/run.sh` runs.

launch/run.sh
.venv/bin/python -m ptdit_jax.train --config configs/c2i_digits.py

Expected on 2 CPU cores: under 5 minutes of training, 1 GiB of memory, at least 95% of 500 digits at guidance 2
recognised as the digit asked for, and a variety within a class near that of real digits (README, Benchmarks).
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """2.6 M parameters, 4x4 tokens of 2x2 pixels, windows of 2x2 tokens."""
    config = common.get_config()

    model = config.model
    model.variant = "custom"
    model.depth = 4
    model.width = 128
    model.heads = 4
    model.patch = 2
    model.channels = 1
    model.sample_size = 8
    model.classes = 10
    model.unroll = 0  # a scan's backward pass copies every kept activation, a third of a step on a CPU

    config.data.name = "digits"
    config.data.height = 8
    config.data.width = 8
    config.data.pixels_per_latent = 1
    config.data.batch = 64
    config.compression.fixed = (1, 2, 2)

    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 100
    config.train.steps = 3000
    config.train.ema_decays = (0.999,)
    config.checkpoint.every = 500

    config.sampling.sampler = "heun"
    config.sampling.steps = 25
    config.sampling.guidance = 2.0
    config.sampling.guidance_interval = (0.0, 0.3)  # guided at all times, digits of a class look alike
    config.sampling.count = 100
    config.sampling.batch = 250
    config.sampling.ema = 0.999
    config.evaluation.name = "digits"
    config.evaluation.count = 500
    return config
