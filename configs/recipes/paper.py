"""The six stages of the paper (Table 3), PT-DiT/XL: text to image, to video and to 24 views, as the tree that they are.

    launch/stages.sh configs/recipes/paper.py --dry-run --topology v5e:16x16
    launch/stages.sh configs/recipes/paper.py --accelerator tpu --cluster auto

    t2i_1 (256 px) -> t2i_2 (512 px) -> t2i_3 (1024 px)
                                     -> t2mv  (512 px, 24 views)
                   -> t2v_1 (256 px, 96 frames) -> t2v_2 (512 px)

Each stage's config is in configs/, with what it needs and what the paper reports.  Its data are in `data/STAGE`,
encoded with that config (docs/encode.md), or where `--STAGE.data.path=SHARDS` says; those of a later stage may come
while an earlier one trains.  Meshes are those of 256 chips of 16 GB; `--config.mesh.fsdp=N` is for others.  A stage
starts with the raw parameters of the one before, as docs/recipes.md has it; `--STAGE.train.init_ema=0.9999` takes the
average.
"""

from typing import Any

from configs.recipes.common import Stage

FSDP: dict[str, Any] = {"mesh.fsdp": 16}
"""Parameters, averages and moments on 16 chips each."""


def get_recipe() -> list[Stage]:
    """Pictures, then films, then views; from which each starts is in Table 3."""
    return [
        _stage("t2i_1", "t2i_xl_256"),
        _stage("t2i_2", "t2i_xl_512", "t2i_1"),
        _stage("t2i_3", "t2i_xl_1024", "t2i_2"),
        _stage("t2v_1", "t2v_xl_256", "t2i_1"),
        _stage("t2v_2", "t2v_xl_512", "t2v_1"),
        _stage("t2mv", "t2mv_xl_512", "t2i_2", **{"mesh.fsdp": 8, "mesh.context": 2}),
    ]


def _stage(name: str, config: str, before: str = "", **fields: Any) -> Stage:
    fields = {"data.path": f"data/{name}", **FSDP, **fields}
    return Stage(name=name, config=f"configs/{config}.py", init_from=before, fields=fields)
