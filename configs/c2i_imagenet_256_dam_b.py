"""DAM-B/2 on ImageNet 256: SiT-B/2 with 64 attention mediators (arXiv 2408.05710).

launch/run.sh --config configs/c2i_imagenet_256_dam_b.py --config.data.path=FOLDER

FOLDER as in c2i_s_256.py; `--config.model.variant=S` is DAM-S/2, whose FID is 53.57 after 400k steps.
130.3 M parameters, 22.4 G multiply-accumulates a sample.  Not trained by this project: no expected time or quality
of its own yet.
"""

import ml_collections

from configs import c2i_s_256


def get_config() -> ml_collections.ConfigDict:
    """SiT's recipe of `c2i_s_256`, which is DAM's too."""
    config = c2i_s_256.get_config("sit")
    config.model.family = "dam"
    config.model.variant = "B"
    config.model.time_input = "1-t"
    return config
