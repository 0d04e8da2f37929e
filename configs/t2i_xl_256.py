"""Text to image with PT-DiT/XL at 256x256 pixels: the first of the paper's three stages (Table 3), from scratch.

launch/run.sh --config configs/t2i_xl_256.py --config.data.path=FOLDER
launch/run.sh --config configs/t2i_xl_1024.py --config.data.path=FOLDER --config.train.init_from=runs/t2i_xl_256

FOLDER holds latents and text states (docs/data.md).  The paper has a stage at 512 pixels between these two: the first
command with `--config.data.height=64 --config.data.width=64 --config.data.batch=768` and its own `--workdir`.
"""

import ml_collections

from configs import t2i_xl_1024


def get_config() -> ml_collections.ConfigDict:
    """As `t2i_xl_1024` on 32x32x4 latents: 256 tokens in 64 windows of (1, 2, 2)."""
    config = t2i_xl_1024.get_config()
    config.data.height = 32
    config.data.width = 32
    config.data.batch = 10_240
    config.train.steps = 100_000
    return config
