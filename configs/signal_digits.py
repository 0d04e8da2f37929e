"""The 1-D form of PT-DiT: class-conditional signals of 64 samples on a (1, 1, N) grid.

launch/run.sh --config configs/signal_digits.py

The 1,797 scans of `c2i_digits`, unrolled row by row: the network sees one row of 64 values, a token is 2 of them, a
window 4 tokens along it, and nothing says where a row of the scan ends.  Rolled back they are judged as digits.
Latents of sound or of text are the same with more channels: data.frames = data.height = 1, data.width their length.

Expected on 2 CPU cores: as `c2i_digits` with twice the tokens, under 10 minutes of training.
"""

import ml_collections

from configs import c2i_digits


def get_config() -> ml_collections.ConfigDict:
    """As `c2i_digits` on 1x1x32 tokens of 1x2 values, windows (1, 1, 4)."""
    config = c2i_digits.get_config()
    config.model.patch_height = 1
    config.model.sample_size = 64
    config.data.name = "signal_digits"
    config.data.height = 1
    config.data.width = 64
    config.compression.fixed = (1, 1, 4)
    return config
