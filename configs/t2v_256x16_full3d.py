"""Text to video with full 3-D attention, 16 frames of 256x256 pixels: a baseline of the PT-DiT reviews.

launch/run.sh --config configs/t2v_256x16_full3d.py --config.data.path=FOLDER

FVD on UCF-101 after 40k steps on WebVid: full 3-D attention 631.02, 2D+1D (t2v_256x16_factorized.py) 679.30, PT-DiT
(`--config.model.family=ptdit`) 598.21.  The reviews name neither width nor depth; here they are those of XL.  Not
trained by this project: no expected time or quality of its own yet.
"""

import ml_collections

from configs import t2v_xl_512x288


def get_config() -> ml_collections.ConfigDict:
    """As `t2v_xl_512x288` with every token attending to all, on 4x32x32x4 latents."""
    config = t2v_xl_512x288.get_config()
    config.model.family = "full3d"
    config.data.frames = 4
    config.data.pixel_frames = 16
    config.data.height = 32
    config.data.width = 32
    config.data.batch = 256
    config.train.steps = 40_000
    return config
