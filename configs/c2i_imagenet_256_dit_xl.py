"""DiT-XL/2 on ImageNet 256 (arXiv 2212.09748: FID 9.62 after 7M steps, 2.27 with guidance 1.5).

launch/run.sh --config configs/c2i_imagenet_256_dit_xl.py --config.data.path=FOLDER
python -m ptdit_jax.convert from-torch DiT-XL-2-256x256.pt --config configs/c2i_imagenet_256_dit_xl.py --out dit_xl

FOLDER as in c2i_s_256.py; `--config.model.variant=S` is DiT-S/2.  674.8 M parameters, 118.6 G
multiply-accumulates a sample.  Not trained by this project: no expected time or quality of its own yet.
"""

import ml_collections

from configs import c2i_s_256


def get_config() -> ml_collections.ConfigDict:
    """The recipe of `c2i_s_256` by DiT with DiT's own network and number of steps."""
    config = c2i_s_256.get_config("dit")
    config.model.family = "dit"
    config.model.variant = "XL"
    config.model.compute_dtype = "bfloat16"
    config.model.remat = "block"
    config.train.steps = 7_000_000
    return config
