"""Text-conditional PT-DiT from raw files: PNGs and MP4s with captions beside them, encoded into shards, trained on.

.venv/bin/python -m benchmarks.make_raw_demo --out data/raw_digits --side 32
launch/encode.sh --config configs/t2i_raw_digits.py --out data/raw_digits_shards \
    --source images:data/raw_digits/images --source videos:data/raw_digits/videos
launch/run.sh --config configs/t2i_raw_digits.py

The encoders need no file: what is denoised is pixels, and captions are encoded by a small seeded T5 of bytes.  Of each
film one frame is a picture like the others.
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """1.5 M parameters, pictures of about 32x32 pixels in several shapes, windows of 2x2 tokens of 2x2 pixels."""
    config = common.get_config()

    model = config.model
    model.variant = "custom"
    model.depth = 2
    model.width = 128
    model.heads = 4
    model.channels = 3
    model.sample_size = 32
    model.condition = "text"
    model.text_dim = 128
    model.text_length = 48
    model.unroll = 0  # faster on a CPU

    config.text_encoder.path = "bytes"
    config.text_encoder.clean = "strip"
    config.autoencoder.path = "pixels"
    config.autoencoder.posterior = "mode"
    config.encode.unit = 256

    config.data.name = "shards"
    config.data.path = "data/raw_digits_shards"
    config.data.height = 32
    config.data.width = 32
    config.data.pixels_per_latent = 1
    config.data.batch = 32
    config.compression.fixed = (1, 2, 2)

    config.optimizer.learning_rate = 1e-3
    config.train.steps = 500
    config.train.ema_decays = (0.99,)
    config.checkpoint.every = 100
    config.sampling.steps = 20
    config.sampling.count = 16
    config.sampling.ema = 0.99
    return config
