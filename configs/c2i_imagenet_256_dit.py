"""PT-DiT/S-Class on ImageNet 256 by DiT's recipe (Table 2's ablations, FID of the reviews: 65.86 after 400k steps).

launch/run.sh --config configs/c2i_imagenet_256_dit.py --config.data.path=FOLDER

FOLDER holds latents (N, 4, 32, 32) times 0.18215 and labels, see `data_pipelines/folders.py`; 32.5 M parameters,
3.86 G multiply-accumulates a sample.  Not trained by this project: no expected time or quality of its own yet.
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """eps-prediction with learned variance on the VP path; AdamW 1e-4 constant, batch 256, 400k steps, EMA 0.9999."""
    config = common.get_config()
    config.model.variant = "S-Class"
    config.model.classes = 1000
    config.data.name = "arrays"
    config.data.flip = True
    config.diffusion.path = "vp"
    config.diffusion.prediction = "eps"
    config.diffusion.learn_variance = True
    config.diffusion.times = "uniform"
    config.optimizer.clip_norm = 0.0
    config.sampling.sampler = "ddpm"
    config.sampling.steps = 250
    config.sampling.guidance = 1.0
    return config
