"""Text to image with PT-DiT/XL at 256x256 pixels: T2I 1 of the paper (Table 3), from scratch on 50 M pictures.

launch/run.sh --config configs/t2i_xl_256.py --config.data.path=SHARDS --config.mesh.fsdp=16
.venv/bin/python -m ptdit_jax.plan --config configs/t2i_xl_256.py --topology v5e:16x16 --mesh fsdp=16
Planned: v5e:16x16: 4.2 of 16 GiB a chip; 100,000 steps take 0.4 days at least, 1.8 at 25% of peak
Reported: T2I of all three stages, zero-shot FID-30K on MS-COCO 256x256: 15.70

SHARDS is a folder of `launch/encode.sh --config configs/t2i_xl_256.py --config.text_encoder.path=T5 \
--config.autoencoder.path=VAE`: T5 has a T5 v1.1 XXL encoder, VAE the released CausalVAE or another of 4 channels and
8 x 8 pixels.  What the paper leaves open is as in the released code, or as DiT has it: docs/recipes.md.
"""

import ml_collections

from configs import common


def get_config() -> ml_collections.ConfigDict:
    """28 blocks of 1152 on 32x32x4 latents: 256 tokens in 64 windows of (1, 2, 2); v-prediction, 120 tokens of text."""
    config = common.get_config()

    model = config.model
    model.variant = "XL"
    model.condition = "text"
    model.text_dim = 4096
    model.text_length = 120
    model.compute_dtype = "bfloat16"
    model.remat = "block"
    model.attention_chunk = 2048

    data = config.data
    data.name = "shards"
    data.height = 32
    data.width = 32
    data.batch = 10_240
    config.text_encoder.clean = "release"

    config.diffusion.path = "vp"
    config.diffusion.prediction = "v"
    config.diffusion.times = "uniform"

    config.optimizer.learning_rate = 2e-5
    config.train.steps = 100_000

    config.sampling.sampler = "ddim"
    config.sampling.steps = 50
    config.sampling.guidance = 6.0
    config.sampling.count = 4
    config.sampling.batch = 4
    return config
