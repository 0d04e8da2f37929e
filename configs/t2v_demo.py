"""Text-to-video on a CPU: films of 16 frames in which a coloured digit goes the way that its caption says.

launch/run.sh --config configs/t2v_demo.py --config.train.init_from=runs/t2i_demo

The network is that of `t2i_demo`, with which it starts, on 16 frames and windows of 4 frames.  What it reaches:
docs/demos.md.
"""

import ml_collections

from configs import t2i_demo


def get_config() -> ml_collections.ConfigDict:
    """As `t2i_demo` on 16 frames of 24x24 pixels: 16x4x4 tokens, windows (4, 2, 2)."""
    config = t2i_demo.get_config()
    config.data.name = "directed_digits"
    config.data.frames = 16
    config.data.batch = 8
    config.compression.fixed = (4, 2, 2)
    config.diffusion.shift_scale = 52.0  # r = 10 for 16 frames
    config.optimizer.learning_rate = 1.5e-3
    config.train.steps = 3000
    config.train.ema_decays = (0.995,)
    config.checkpoint.every = 250
    config.sampling.steps = 15
    config.sampling.count = 12
    config.sampling.batch = 30
    config.sampling.ema = 0.995
    config.evaluation.name = "directed_digits"
    config.evaluation.count = 150
    return config
