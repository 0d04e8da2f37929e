"""Text to image with PT-DiT/XL at 512x512 pixels: T2I 2 of the paper (Table 3), on 18 M pictures.

launch/run.sh --config configs/t2i_xl_512.py --config.data.path=SHARDS --config.mesh.fsdp=16
.venv/bin/python -m ptdit_jax.plan --config configs/t2i_xl_512.py --topology v5e:16x16 --mesh fsdp=16
Planned: v5e:16x16: 2.4 of 16 GiB a chip; 50,000 steps take 0.1 days at least, 0.2 at 25% of peak
Reported: T2I of all three stages, zero-shot FID-30K on MS-COCO 256x256: 15.70

It starts from the run of t2i_xl_256.py (`train.init_from`); SHARDS as there, encoded with this config.
"""

import ml_collections

from configs import t2i_xl_256


def get_config() -> ml_collections.ConfigDict:
    """As `t2i_xl_256` on 64x64x4 latents: 1,024 tokens in 64 windows of (1, 4, 4)."""
    config = t2i_xl_256.get_config()
    config.data.height = 64
    config.data.width = 64
    config.data.batch = 768
    config.train.steps = 50_000
    config.train.init_from = "runs/t2i_xl_256"
    return config
