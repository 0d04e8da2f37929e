"""Processes that save checkpoints of an array that lies on all of them, find the last one damaged, and go on.

python checkpoints.py FOLDER --coordinator ... (as `train`)
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ptdit_jax import cli
from ptdit_jax.processes import distributed
from ptdit_jax.training import checkpoint, integrity, optimizer, state
from tests.training.test_checkpoint import CONFIG, abstract, common, progress


def main(folder):
    mesh = Mesh(jax.devices(), ("rows",))
    direction = optimizer.make_direction(common.get_config().optimizer)

    def make(step):
        return state.create({"kernel": step + jnp.arange(4000.0).reshape(4, -1)}, direction, (0.9,))

    parts = jax.tree.map(lambda a: NamedSharding(mesh, PartitionSpec(*("rows",)[: a.ndim])), make(0))
    placed = jax.jit(make, out_shardings=parts)
    with checkpoint.Checkpoints(folder, keep=0) as checkpoints:
        for step in (10, 20):
            checkpoints.save(placed(step), progress(step), CONFIG)
    if jax.process_index() == 0:
        assert integrity.damage(folder / "20") is None
        damaged = next((folder / "20" / "params" / "ocdbt.process_1" / "d").iterdir())
        damaged.unlink()
        print(f"removed {damaged}")
    try:
        checkpoint.Checkpoints(folder, keep=0)
    except checkpoint.CheckpointError as error:
        print(error)
    with checkpoint.Checkpoints(folder, keep=0, on_damage="previous") as checkpoints:
        restored, where = checkpoints.restore(abstract(placed(0)))
    same = jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), restored, placed(where.step)))
    print(f"step {where.step} is {'as it was' if same else 'another'}")
    return 0


if __name__ == "__main__":
    launch, (_, path) = distributed.parse(sys.argv)
    others = distributed.initialize(launch)
    sys.exit(distributed.run(others, lambda: cli.run(lambda: main(Path(path)))))
