"""The three demonstrations as one tree of stages, as the paper's: pictures, small and larger; films; turntables.

    launch/stages.sh configs/recipes/demo_all.py --dry-run
    launch/stages.sh configs/recipes/demo_all.py

    pictures_16 -- pictures_24 -+- films
                                +- views -- turntables

Each stage starts with the averaged parameters of the one before (docs/demos.md).
"""

from typing import Any

from configs.recipes.common import Stage

SMALL: dict[str, Any] = {"data.height": 16, "data.width": 16, "model.sample_size": 24}
"""A canvas of 16x16 pixels at the positions of 24x24."""
VIEWS: dict[str, Any] = {
    "data.frames": 1,
    "data.batch": 64,
    "compression.fixed": (1, 2, 2),
    "evaluation.name": "none",
}
"""Single views of solids, which no judge of turntables takes."""


def get_recipe() -> list[Stage]:
    """Two stages of pictures, and what starts from them."""
    return [
        Stage(name="pictures_16", config="configs/t2i_demo.py", fields={**SMALL, "train.steps": 3000}),
        Stage(
            name="pictures_24",
            config="configs/t2i_demo.py",
            init_from="pictures_16",
            fields={"train.init_ema": 0.998, "train.steps": 2000, "optimizer.learning_rate": 1e-3},
        ),
        Stage(
            name="films",
            config="configs/t2v_demo.py",
            init_from="pictures_24",
            fields={"train.init_ema": 0.998},
        ),
        Stage(
            name="views",
            config="configs/t2mv_demo.py",
            init_from="pictures_24",
            fields={**VIEWS, "train.init_ema": 0.998, "train.steps": 1000},
        ),
        Stage(
            name="turntables",
            config="configs/t2mv_demo.py",
            init_from="views",
            fields={"train.init_ema": 0.995},
        ),
    ]
