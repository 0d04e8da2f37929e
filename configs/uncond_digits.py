"""Unconditional PT-DiT on the same digits as `c2i_digits`.

python -m ptdit_jax.train --config configs/uncond_digits.py
"""

import ml_collections

from configs import c2i_digits


def get_config() -> ml_collections.ConfigDict:
    """As `c2i_digits`, without labels, hence without guidance and without a judge of labels."""
    config = c2i_digits.get_config()
    config.model.condition = "none"
    config.sampling.guidance = 1.0
    config.evaluation.name = "none"
    return config
