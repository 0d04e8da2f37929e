"""Run by `test_t5.py` with 4 virtual devices: the seeded T5 over meshes against one device; prints JSON."""

import json

import jax
import numpy as np

from configs import common
from ptdit_jax.encoders import text
from ptdit_jax.parallel.axes import AXES
from ptdit_jax.parallel.mesh import make_mesh

MESHES = {"fsdp 2, tensor 2": (1, 2, 2, 1), "tensor 4": (1, 1, 4, 1), "fsdp 4": (1, 4, 1, 1)}
CAPTIONS = ["a handwritten three", "", "the digit 7", "eight", "a scan of the number zero"]


def main() -> dict:
    section = common.get_config().text_encoder
    section.path, section.dtype = "bytes", "float32"
    alone = text.open_text_encoder(section, length=40)
    wanted = alone.states(CAPTIONS, dtype=np.float32)
    found = {}
    for name, sizes in MESHES.items():
        mesh = make_mesh(dict(zip(AXES, sizes, strict=True)))
        encoder = text.open_text_encoder(section, length=40, mesh=mesh)
        assert encoder.fingerprint == alone.fingerprint
        states = encoder.states(CAPTIONS, dtype=np.float32)
        params = encoder.params
        shard = lambda leaf: leaf.addressable_shards[0].data.shape  # noqa: E731
        found[name] = {
            "difference": max(float(np.abs(a - b).max()) for a, b in zip(states, wanted, strict=True)),
            **{kernel: shard(params["blocks"][kernel]) for kernel in ("q", "wi", "wo")},
            "bias": shard(params["bias"]),
            "listed": [len(a) for a in states] == [20, 1, 12, 6, 26],
        }
    return found


if __name__ == "__main__":
    assert jax.device_count() == 4
    print(json.dumps(main()))
