"""Unconditional PT-DiT on the same digits as `c2i_digits`.

launch/run.sh --config configs/uncond_digits.py

Expected on 2 CPU cores: under 5 minutes.
"""

import ml_collections

from configs import c2i_digits


def get_config() -> ml_collections.ConfigDict:
    """As `c2i_digits`, without labels, hence without guidance and without a judge of labels."""
    config = c2i_digits.get_config()
    config.model.condition = "none"
    config.sampling.guidance = 1.0
    config.sampling.guidance_interval = (0.0, 1.0)
    config.evaluation.name = "none"
    return config
