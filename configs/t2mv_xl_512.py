"""Text to 24 views of an object of 512x512 pixels with PT-DiT/XL: T2MV of the paper, on 40 k objects of G-Objaverse.

launch/run.sh --config configs/t2mv_xl_512.py --config.data.path=SHARDS --config.mesh.fsdp=8 --config.mesh.context=2
.venv/bin/python -m ptdit_jax.plan --config configs/t2mv_xl_512.py --topology v5e:16x16 --mesh fsdp=8,context=2
Planned: v5e:16x16: 4.5 of 16 GiB a chip; 20,000 steps take 0.1 days at least, 0.4 at 25% of peak
Reported: no figure, pictures alone

It starts from the run of t2i_xl_512.py.  SHARDS as in t2i_xl_256.py, of `--source multiview:FOLDER`, encoded with this
config: every view is encoded as a picture.
"""

import ml_collections

from configs import t2i_xl_512


def get_config() -> ml_collections.ConfigDict:
    """As `t2i_xl_512` on 24x64x64x4 latents, each view a frame: 24,576 tokens in 384 windows of (4, 4, 4)."""
    config = t2i_xl_512.get_config()
    config.data.frames = 24
    config.data.batch = 128
    config.train.steps = 20_000
    config.train.init_from = "runs/t2i_xl_512"
    return config
