"""Text-to-image on a CPU: handwritten digits in colour at the place that their caption says, "a red seven, top left".

launch/run.sh --config configs/t2i_demo.py

Real digits, captions through the byte-level T5 in the training step, pixels: nothing is downloaded (docs/demos.md).
The run ends with the share of digits, colours and places that are right, on pairs of colour and digit that it was
trained on and on pairs that it never saw.  What it reaches: docs/demos.md.
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """Pictures of 24x24 pixels in 4x4 tokens of 6x6 pixels, windows of 2x2 tokens."""
    config = common.get_config()

    model = config.model
    model.variant = "custom"
    model.depth = 4
    model.width = 128
    model.heads = 4
    model.patch = 6
    model.channels = 3
    model.sample_size = 24
    model.condition = "text"
    model.text_dim = 128
    model.text_length = 48
    model.unroll = 0  # faster on a CPU

    config.text_encoder.path = "bytes"
    config.text_encoder.clean = "strip"
    config.text_encoder.dtype = "float32"  # faster on a CPU than bfloat16
    config.data.text = "live"
    config.data.name = "colored_digits"
    config.data.height = 24
    config.data.width = 24
    config.data.pixels_per_latent = 1
    config.data.batch = 32
    config.compression.fixed = (1, 2, 2)

    # Grounds, places and colours show through much noise: without a shift training hardly sees where they are decided.
    config.diffusion.shift = "latent_frames"
    config.diffusion.shift_scale = 128.0  # r = 6 at 24x24 pixels

    config.optimizer.learning_rate = 2e-3
    config.optimizer.b2 = 0.99
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 100
    config.train.steps = 8000
    config.train.ema_decays = (0.998,)
    config.checkpoint.every = 500

    config.sampling.sampler = "heun"
    config.sampling.steps = 20
    config.sampling.guidance = 2.0
    config.sampling.count = 60
    config.sampling.batch = 120
    config.sampling.ema = 0.998
    config.evaluation.name = "colored_digits"
    config.evaluation.count = 600
    return config
