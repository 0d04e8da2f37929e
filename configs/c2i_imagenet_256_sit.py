"""PT-DiT/S-Class on ImageNet 256 by SiT's recipe (FID of the reviews: 55.05 after 400k steps).

launch/run.sh --config configs/c2i_imagenet_256_sit.py --config.data.path=FOLDER

FOLDER as in c2i_imagenet_256_dit.py.  Not trained by this project: no expected time or quality of its own yet.
"""

import ml_collections

from configs import c2i_imagenet_256_dit


def get_config() -> ml_collections.ConfigDict:
    """Velocity on the linear path with uniform times; 250 steps of the SDE sampler."""
    config = c2i_imagenet_256_dit.get_config()
    config.diffusion.path = "flow"
    config.diffusion.prediction = "velocity"
    config.diffusion.learn_variance = False
    config.sampling.sampler = "sde"
    return config
