"""Text to video with factorised 2D+1D attention, 16 frames of 256x256 pixels: a baseline of the PT-DiT reviews.

launch/run.sh --config configs/t2v_256x16_factorized.py --config.data.path=FOLDER

The figures to compare with are in t2v_256x16_full3d.py.  Not trained by this project: no expected time or quality of
its own yet.
"""

import ml_collections

from configs import t2v_256x16_full3d


def get_config() -> ml_collections.ConfigDict:
    """As `t2v_256x16_full3d` with attention within each frame, then along the frames."""
    config = t2v_256x16_full3d.get_config()
    config.model.family = "factorized"
    return config
