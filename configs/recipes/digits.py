"""A chain of three on the digits that scikit-learn ships: 8x8 pixels, 16x16 pixels, then films of moving digits.

    launch/stages.sh configs/recipes/digits.py --dry-run
    launch/stages.sh configs/recipes/digits.py

Each stage starts with the averaged parameters of the one before: the network is the same at any size and any number of
frames.  It is short, to be tried and to be tested; digits at 16x16 pixels are scans of 8x8, enlarged.

Expected on 2 CPU cores: about 2 minutes.
"""

from typing import Any

from configs.recipes.common import Stage

SMALL: dict[str, Any] = {
    "model.depth": 2,
    "model.width": 64,
    "model.sample_size": 16,
    "optimizer.schedule": "constant",
    "train.ema_decays": (0.99,),
    "train.log_every": 20,
    "checkpoint.every": 200,
    "checkpoint.keep": 1,
    "sampling.ema": 0.99,
    "sampling.steps": 12,
    "sampling.count": 20,
    "sampling.batch": 50,
    "evaluation.count": 100,
}
"""A network and runs small enough for two minutes."""
AVERAGE: dict[str, Any] = {"train.init_ema": 0.99}
"""Of the stage before, in the place of its raw parameters."""


def get_recipe() -> list[Stage]:
    """Pictures of 8x8, pictures of 16x16, films of 16x16 pixels and 16 frames."""
    side = {"data.height": 16, "data.width": 16}
    return [
        Stage(name="pixels_8", config="configs/c2i_digits.py", fields={**SMALL, "train.steps": 600}),
        Stage(
            name="pixels_16",
            config="configs/c2i_digits.py",
            init_from="pixels_8",
            fields={**SMALL, **AVERAGE, **side, "train.steps": 300},
        ),
        Stage(
            name="films",
            config="configs/video_digits.py",
            init_from="pixels_16",
            fields={**SMALL, **AVERAGE, "data.batch": 8, "train.steps": 100, "sampling.count": 10},
        ),
    ]
