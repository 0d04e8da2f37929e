"""PT-DiT/L-Class on ImageNet 256 by DiT's recipe, or with `:sit` by SiT's: the reviews' beside DiT-XL.

launch/run.sh --config configs/c2i_l_256.py --config.data.path=FOLDER --config.mesh.fsdp=16
.venv/bin/python -m ptdit_jax.plan --config configs/c2i_l_256.py --topology v5e:4x4 --mesh fsdp=16
Planned: v5e:4x4: 2.0 of 16 GiB a chip; 2,000,000 steps take 1.2 days at least, 4.9 at 25% of peak
Reported: FID 9.40, sFID 6.17, IS 125.07, precision 0.68, recall 0.66; DiT-XL at 7M 9.62, 6.85, 121.50, 0.67, 0.67

launch/run.sh --config configs/c2i_l_256.py:sit --config.data.path=FOLDER --config.mesh.fsdp=16 \
    --workdir runs/c2i_l_256_sit
.venv/bin/python -m ptdit_jax.plan --config configs/c2i_l_256.py:sit --topology v5e:4x4 --mesh fsdp=16
Planned: v5e:4x4: 2.0 of 16 GiB a chip; 2,000,000 steps take 1.2 days at least, 4.9 at 25% of peak
Reported: cost alone, 693 M parameters and 82.64 G multiply-accumulates

FOLDER as in c2i_s_256.py; the width is inferred from the cost (docs/variants.md), and of the two recipes the reviews do
not name the one that they used.  Not trained by this project: no expected time or quality of its own yet.
"""

import ml_collections

from configs import c2i_s_256


def get_config(recipe: str = "dit") -> ml_collections.ConfigDict:
    """The recipes of `c2i_s_256` on 24 blocks of 864, for 2M steps."""
    config = c2i_s_256.get_config(recipe)
    config.model.variant = "L-Class"
    config.model.compute_dtype = "bfloat16"
    config.model.remat = "block"
    config.train.steps = 2_000_000
    return config
