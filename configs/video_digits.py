"""Class-conditional PT-DiT on videos of 16 frames in which one digit moves and bounces.

launch/run.sh --config configs/video_digits.py

A short run that keeps the video path honest; expect an hour on 2 CPU cores, and moving digits well before its end.
"""

import ml_collections

from configs import c2i_digits


def get_config() -> ml_collections.ConfigDict:
    """As `c2i_digits` on 16 frames of 16x16 pixels: 16x8x8 tokens, windows (4, 2, 2)."""
    config = c2i_digits.get_config()
    config.model.sample_size = 16
    config.data.name = "moving_digits"
    config.data.frames = 16
    config.data.height = 16
    config.data.width = 16
    config.data.batch = 32
    config.compression.fixed = (4, 2, 2)
    config.sampling.count = 10
    config.sampling.batch = 10
    config.evaluation.name = "none"
    return config
