"""PixArt-α XL/2, text to image at 256x256 pixels (arXiv 2310.00426).

launch/run.sh --config configs/t2i_pixart_256.py --config.data.path=FOLDER

As the authors' code trains it, 176 samples on each of 64 accelerators.  610.9 M parameters, 149.1 G
multiply-accumulates a sample.  Not trained by this project: no expected time or quality of its own yet.
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """DiT-XL/2's size on 32x32x4 latents, 120 tokens of T5-XXL; eps-prediction with learned variance."""
    config = common.get_config()

    model = config.model
    model.family = "pixart"
    model.variant = "XL"
    model.condition = "text"
    model.null_mask = "caption"
    model.compute_dtype = "bfloat16"
    model.remat = "block"

    config.data.name = "arrays"
    config.data.batch = 64 * 176

    diffusion = config.diffusion
    diffusion.path = "vp"
    diffusion.prediction = "eps"
    diffusion.learn_variance = True
    diffusion.times = "uniform"

    optimizer = config.optimizer
    optimizer.learning_rate = 2e-5
    optimizer.warmup_steps = 1000
    optimizer.eps = 1e-10
    optimizer.weight_decay = 0.03
    optimizer.clip_norm = 0.01

    config.sampling.sampler = "dpmpp_2m"
    config.sampling.steps = 20
    config.sampling.guidance = 4.5
    config.sampling.count = 4
    config.sampling.batch = 4
    return config
