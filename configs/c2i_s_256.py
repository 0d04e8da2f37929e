"""PT-DiT/S-Class on ImageNet 256 by DiT's recipe, or with `:sit` by SiT's: the networks of Table 2 and the reviews.

launch/run.sh --config configs/c2i_s_256.py --config.data.path=FOLDER
.venv/bin/python -m ptdit_jax.plan --config configs/c2i_s_256.py --topology v5e:4x4
Planned: v5e:4x4: 4.1 of 16 GiB a chip; 400,000 steps take 0.1 days at least, 0.1 at 25% of peak
Reported: FID-50K after 400k steps without guidance 65.86, DiT-S 68.40; with guidance 6 and 50 steps (Table 2) 19.30

launch/run.sh --config configs/c2i_s_256.py:sit --config.data.path=FOLDER --workdir runs/c2i_s_256_sit
.venv/bin/python -m ptdit_jax.plan --config configs/c2i_s_256.py:sit --topology v5e:4x4
Planned: v5e:4x4: 4.1 of 16 GiB a chip; 400,000 steps take 0.1 days at least, 0.1 at 25% of peak
Reported: FID-50K after 400k steps without guidance 55.05, SiT-S 58.61, DAM-S 53.57

FOLDER holds latents (N, 4, 32, 32) times 0.18215 and labels, see `data_pipelines/folders.py`; 32.5 M parameters,
3.86 G multiply-accumulates a sample.  Not trained by this project: no expected time or quality of its own yet.
"""

import ml_collections

from configs import common

RECIPES = ("dit", "sit")


def get_config(recipe: str = "dit") -> ml_collections.ConfigDict:
    """AdamW 1e-4 constant, batch 256, 400k steps, EMA 0.9999, horizontal flips, no guidance.

    Args:
      recipe: "dit": eps-prediction with learned variance on the VP path, 250 steps of DDPM; "sit": velocity on the
        linear path with uniform times, 250 steps of the SDE sampler.
    """
    if recipe not in RECIPES:
        raise ValueError(f"the recipe after ':' is {recipe!r}; it must be one of {', '.join(RECIPES)}")
    config = common.get_config()
    config.model.variant = "S-Class"
    config.model.classes = 1000
    config.data.name = "arrays"
    config.data.flip = True
    config.diffusion.times = "uniform"
    if recipe == "dit":
        config.diffusion.path = "vp"
        config.diffusion.prediction = "eps"
        config.diffusion.learn_variance = True
    config.optimizer.clip_norm = 0.0
    config.sampling.sampler = "ddpm" if recipe == "dit" else "sde"
    config.sampling.steps = 250
    config.sampling.guidance = 1.0
    return config
