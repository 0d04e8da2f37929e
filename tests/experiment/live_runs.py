"""Run by `test_live_text.py` with 4 virtual devices: a few steps with text stored, live, and live on a mesh."""

import json

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from data_pipelines import make_loader
from data_pipelines.text import pad_all
from ptdit_jax.encoders import text
from ptdit_jax.experiment import live_text, null_text
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import make_program
from ptdit_jax.parallel.axes import AXES
from ptdit_jax.parallel.mesh import make_mesh
from tests.experiment.test_live_text import live
from tests.models.tiny import FAST


def run(config, sizes, *, stored=None):
    """Losses of 4 steps, the names of the state, and where the encoder's wi lies."""
    mesh = make_mesh(dict(zip(AXES, sizes, strict=True)), jax.devices()[: int(np.prod(sizes))])
    null = null_text.padded(config, live_text.null(live()))
    program = make_program(config, build(config, mesh=mesh, null_text=null), mesh)
    state = program.init.lower(jax.random.key(0)).compile(compiler_options=FAST)(jax.random.key(0))
    names = sorted(map(jax.tree_util.keystr, dict(jax.tree_util.tree_flatten_with_path(state)[0])))
    frozen = live_text.params(config, mesh)
    step = program.lower().compile(compiler_options=FAST)
    loader = make_loader(live().data, seed=0, text=(32, 128), tokens=live_text.tokens(live()))
    key = jax.device_put(jax.random.key(1), NamedSharding(mesh, PartitionSpec()))
    losses = []
    for _ in range(4):
        batch = next(loader)
        if stored is not None:
            captions = [
                bytes(int(i) - 3 for i in ids[mask][:-1]).decode()
                for ids, mask in zip(batch["ids"], batch["text_mask"], strict=True)
            ]
            batch["text"], batch["text_mask"] = pad_all(stored.states(captions, dtype=np.float32), 32)
        placed = {name: jax.device_put(batch[name], program.batch_sharding) for name in program.batch}
        state, metrics = step(state, placed, key, *frozen)
        losses.append(float(metrics["loss"]))
    shard = frozen[0]["blocks"]["wi"].addressable_shards[0].data.shape if frozen else ()
    return losses, names, shard


def main() -> dict:
    of_bytes = text.open_text_encoder(live().text_encoder, length=32)
    found = {}
    found["live"], found["state"], _ = run(live(), (1, 1, 1, 1))
    config = live(**{"data.text": "stored"})
    found["stored"], found["state, stored"], _ = run(config, (1, 1, 1, 1), stored=of_bytes)
    found["live, fsdp 2, tensor 2"], _, found["shard"] = run(live(), (1, 2, 2, 1))
    return found


if __name__ == "__main__":
    print(json.dumps(main()))
