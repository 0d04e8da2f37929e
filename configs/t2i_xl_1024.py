"""Text to image with PT-DiT/XL at 1024x1024 pixels: T2I 3 of the paper (Table 3), on 18 M pictures.

launch/run.sh --config configs/t2i_xl_1024.py --config.data.path=SHARDS --config.mesh.fsdp=16
.venv/bin/python -m ptdit_jax.plan --config configs/t2i_xl_1024.py --topology v5e:16x16 --mesh fsdp=16
Planned: v5e:16x16: 3.5 of 16 GiB a chip; 50,000 steps take 0.2 days at least, 0.6 at 25% of peak
Reported: T2I of all three stages, zero-shot FID-30K on MS-COCO 256x256: 15.70

It starts from the run of t2i_xl_512.py; SHARDS as in t2i_xl_256.py, encoded with this config.  The released weights,
whose objective is another one, have t2i_xl_1024_release.py.
"""

import ml_collections

from configs import t2i_xl_512


def get_config() -> ml_collections.ConfigDict:
    """As `t2i_xl_512` on 128x128x4 latents: 4,096 tokens in 64 windows of (1, 8, 8)."""
    config = t2i_xl_512.get_config()
    config.data.height = 128
    config.data.width = 128
    config.data.batch = 512
    config.train.init_from = "runs/t2i_xl_512"
    return config
