"""Processes that save the checkpoints 10 and 20 of an array that lies on all of them, or go on from the last.

python checkpoints.py FOLDER save|stop|previous --coordinator ... (as `train`)
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ptdit_jax import cli
from ptdit_jax.processes import distributed
from ptdit_jax.training import checkpoint, optimizer, state
from tests.training.test_checkpoint import CONFIG, abstract, common, progress


def main(folder, what):
    rows = NamedSharding(Mesh(jax.devices(), ("rows",)), PartitionSpec("rows"))
    direction = optimizer.make_direction(common.get_config().optimizer)

    def make():
        return state.create({"kernel": jnp.arange(4000.0).reshape(4, -1)}, direction, (0.9,))

    shardings = jax.tree.map(lambda a: rows if a.ndim else NamedSharding(rows.mesh, PartitionSpec()), make())
    full = jax.jit(make, out_shardings=shardings)()
    on_damage = "stop" if what == "save" else what
    with checkpoint.Checkpoints(folder, keep=0, on_damage=on_damage) as checkpoints:
        if what == "save":
            for step in (10, 20):
                checkpoints.save(full, progress(step), CONFIG)
        else:
            restored, where = checkpoints.restore(abstract(full))
            same = jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), restored, full))
            print(f"step {where.step}, {'the same' if same else 'another state'}")
    return 0


if __name__ == "__main__":
    launch, (_, folder, what) = distributed.parse(sys.argv)
    others = distributed.initialize(launch)
    sys.exit(distributed.run(others, lambda: cli.run(lambda: main(Path(folder), what))))
