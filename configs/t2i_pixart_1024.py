"""PixArt-α XL/2, text to image at 1024x1024 pixels (arXiv 2310.00426).

launch/run.sh --config configs/t2i_pixart_1024.py --config.data.path=FOLDER --config.train.init_from=RUN

python -m ptdit_jax.convert from-torch PixArt-XL-2-1024-MS.pth --config configs/t2i_pixart_1024.py --out pixart_ms

RUN is a finished t2i_pixart_256.py; the MS models need --config.model.size_condition=8 as well.  3,255 G
multiply-accumulates a sample.  Not trained by this project: no expected time or quality of its own yet.
"""

import ml_collections

from configs import t2i_pixart_256


def get_config() -> ml_collections.ConfigDict:
    """As `t2i_pixart_256` on 128x128x4 latents, whose positions have half the step; a smaller batch."""
    config = t2i_pixart_256.get_config()
    config.model.sample_size = 128
    config.data.height = 128
    config.data.width = 128
    config.data.batch = 384
    return config
