"""Text to image with PT-DiT/XL at 2048x2048 pixels, the size that the paper trains on one accelerator of 64 GB.

launch/run.sh --config configs/t2i_xl_2048.py --config.data.path=SHARDS --config.mesh.fsdp=4 --config.mesh.context=4 \
    --config.data.batch=64
.venv/bin/python -m ptdit_jax.plan --config configs/t2i_xl_2048.py --topology v5e:16x16 --mesh fsdp=4,context=4 \
    --batch 64
Planned: v5e:16x16: 2.6 of 16 GiB a chip; 50,000 steps take 0.1 days at least, 0.3 at 25% of peak
Reported: memory alone, 64 GB suffice for one sample

The paper trains no such stage to the end: steps are those of T2I 3, and the batch is that of one replica, 1, of which a
machine with more replicas takes a multiple.  It starts from the run of t2i_xl_1024.py.  docs/plan.md has the memory and
the communication of the released network of this size on machines of 4 to 512 chips.
"""

import ml_collections

from configs import t2i_xl_1024


def get_config() -> ml_collections.ConfigDict:
    """As `t2i_xl_1024` on 256x256x4 latents: 16,384 tokens in 64 windows of (1, 16, 16), one sample a step."""
    config = t2i_xl_1024.get_config()
    config.data.height = 256
    config.data.width = 256
    config.data.batch = 1
    config.train.init_from = "runs/t2i_xl_1024"
    return config
