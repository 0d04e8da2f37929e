"""The three demonstrations as one tree of stages, as the paper's: pictures; films; single views and then turntables.

    launch/stages.sh configs/recipes/demo_all.py --dry-run
    launch/stages.sh configs/recipes/demo_all.py

    pictures -+- films
              +- views -- turntables

Each stage starts with the averaged parameters of the one before (docs/demos.md).
"""

from typing import Any

from configs.recipes.common import Stage

VIEWS: dict[str, Any] = {
    "data.frames": 1,
    "data.batch": 32,
    "diffusion.shift_scale": 128.0,
    "compression.fixed": (1, 2, 2),
    "evaluation.name": "none",
}
"""Single views of solids, which no judge of turntables takes."""


def get_recipe() -> list[Stage]:
    """Pictures, and what starts from them."""
    return [
        Stage(name="pictures", config="configs/t2i_demo.py"),
        Stage(
            name="films",
            config="configs/t2v_demo.py",
            init_from="pictures",
            fields={"train.init_ema": 0.998},
        ),
        Stage(
            name="views",
            config="configs/t2mv_demo.py",
            init_from="pictures",
            fields={**VIEWS, "train.init_ema": 0.998, "train.steps": 1000},
        ),
        Stage(
            name="turntables",
            config="configs/t2mv_demo.py",
            init_from="views",
            fields={"train.init_ema": 0.995},
        ),
    ]
