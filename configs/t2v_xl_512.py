"""Text to video with PT-DiT/XL, 96 frames of 512x512 pixels: T2V 2 of the paper (Table 3), on 3 M films.

launch/run.sh --config configs/t2v_xl_512.py --config.data.path=SHARDS --config.mesh.fsdp=16
.venv/bin/python -m ptdit_jax.plan --config configs/t2v_xl_512.py --topology v5e:16x16 --mesh fsdp=16
Planned: v5e:16x16: 7.5 of 16 GiB a chip; 50,000 steps take 0.5 days at least, 1.9 at 25% of peak
Reported: T2V of both stages, UCF-101: FVD 384.03, IS 35.19, FID 51.95; MSR-VTT: FVD 375.23, CLIPSIM 0.2349

It starts from the run of t2v_xl_256.py; SHARDS as there, encoded with this config.
"""

import ml_collections

from configs import t2v_xl_256


def get_config() -> ml_collections.ConfigDict:
    """As `t2v_xl_256` on 24x64x64x4 latents: 24,576 tokens in 384 windows of (4, 4, 4)."""
    config = t2v_xl_256.get_config()
    config.data.height = 64
    config.data.width = 64
    config.data.batch = 256
    config.train.steps = 50_000
    config.train.init_from = "runs/t2v_xl_256"
    return config
