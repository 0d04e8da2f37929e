"""The released text-to-image XL model (PT-T2I, 1,131,629,216 parameters) at 1024x1024 pixels.

python -m ptdit_jax.convert from-torch WEIGHTS --config configs/t2i_xl_1024_release.py --out t2i_xl

A conversion takes about a minute and 10 GB of memory on two cores (docs/convert.md).  Objective, sampling and text
are those of the authors' released code, which differ from the paper's in t2i_xl_1024.py (docs/recipes.md).
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """28 blocks of 1152 for 128x128x4 latents, 200 tokens of T5-XXL, windows (1, 8, 8), rectified flow."""
    config = common.get_config()

    model = config.model
    model.variant = "XL"
    model.condition = "text"
    model.text_dim = 4096
    model.text_length = 200
    model.out_channels = 8  # the release has 4 more, which neither its loss nor its sampler reads
    model.compute_dtype = "bfloat16"
    model.remat = "block"
    model.attention_chunk = 2048

    data = config.data
    data.name = "arrays"
    data.height = 128
    data.width = 128
    data.batch = 512
    config.text_encoder.clean = "release"
    config.text_encoder.dtype = "float32"
    config.diffusion.shift = "released"

    config.optimizer.learning_rate = 2e-5
    config.train.steps = 50_000

    config.sampling.steps = 30
    config.sampling.guidance = 4.0
    config.sampling.count = 4
    config.sampling.batch = 4
    return config
