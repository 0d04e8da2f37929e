"""PT-DiT/B-Class on ImageNet 256 by DiT's recipe, or with `:sit` by SiT's.

launch/run.sh --config configs/c2i_b_256.py --config.data.path=FOLDER
.venv/bin/python -m ptdit_jax.plan --config configs/c2i_b_256.py --topology v5e:4x4
Planned: v5e:4x4: 11.3 of 16 GiB a chip; 400,000 steps take 0.2 days at least, 0.2 at 25% of peak
Reported: cost alone, 152 M parameters and 18.3 G multiply-accumulates

launch/run.sh --config configs/c2i_b_256.py:sit --config.data.path=FOLDER --workdir runs/c2i_b_256_sit
.venv/bin/python -m ptdit_jax.plan --config configs/c2i_b_256.py:sit --topology v5e:4x4
Planned: v5e:4x4: 11.3 of 16 GiB a chip; 400,000 steps take 0.2 days at least, 0.2 at 25% of peak
Reported: cost alone, 152 M parameters and 18.3 G multiply-accumulates

FOLDER as in c2i_s_256.py; the width is inferred from the cost (docs/variants.md).  Not trained by this project: no
expected time or quality of its own yet.
"""

import ml_collections

from configs import c2i_s_256


def get_config(recipe: str = "dit") -> ml_collections.ConfigDict:
    """The recipes of `c2i_s_256` on 14 blocks of 528."""
    config = c2i_s_256.get_config(recipe)
    config.model.variant = "B-Class"
    return config
