"""Text-to-multiview on a CPU: turntables of textured solids, 24 azimuths at once, such as "a striped red cone".

launch/run.sh --config configs/t2mv_demo.py --config.data.frames=1 --config.compression.fixed='(1,2,2)' \
    --config.data.batch=32 --config.diffusion.shift_scale=128 --config.evaluation.name=none \
    --workdir runs/t2mv_demo_views
launch/run.sh --config configs/t2mv_demo.py --config.train.init_from=runs/t2mv_demo_views

The first command trains on single views, the second starts with that network on all 24 (docs/demos.md).
"""

import ml_collections

from configs import t2v_demo


def get_config() -> ml_collections.ConfigDict:
    """As `t2v_demo` on 24 views of 24x24 pixels: 24x4x4 tokens, windows (4, 2, 2)."""
    config = t2v_demo.get_config()
    config.data.name = "solids"
    config.data.frames = 24
    config.data.batch = 12
    config.diffusion.shift_scale = 52.0  # r = 12 for 24 views
    config.train.steps = 1200
    config.sampling.batch = 20
    config.evaluation.name = "solids"
    config.evaluation.count = 60
    return config
