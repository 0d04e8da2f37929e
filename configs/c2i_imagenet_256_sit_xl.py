"""SiT-XL/2 on ImageNet 256 (arXiv 2401.08740: FID 2.06 after 7M steps with guidance 1.5).

launch/run.sh --config configs/c2i_imagenet_256_sit_xl.py --config.data.path=FOLDER
python -m ptdit_jax.convert from-torch SiT-XL-2-256x256.pt --config configs/c2i_imagenet_256_sit_xl.py --out sit_xl

FOLDER as in c2i_s_256.py.  The network of c2i_imagenet_256_dit_xl.py, its time as SiT counts it.  Not
trained by this project: no expected time or quality of its own yet.
"""

import ml_collections

from configs import c2i_s_256


def get_config() -> ml_collections.ConfigDict:
    """The recipe of `c2i_s_256` by SiT with SiT's own network and number of steps."""
    config = c2i_s_256.get_config("sit")
    config.model.family = "dit"
    config.model.variant = "XL"
    config.model.time_input = "1-t"
    config.model.out_channels = 8  # as the public weights; loss and samplers read 4
    config.model.compute_dtype = "bfloat16"
    config.model.remat = "block"
    config.train.steps = 7_000_000
    return config
