"""Run by `test_autoencoder.py` with four virtual devices: python -m tests.encoders.autoencoder_meshes FOLDER."""

import json
import sys

import jax
import numpy as np

from ptdit_jax.parallel.mesh import make_mesh
from tests.encoders.autoencoders import open_fast

if __name__ == "__main__":
    mesh = make_mesh({"data": 2, "fsdp": 2}, jax.devices())
    one, four = open_fast(sys.argv[1]), open_fast(sys.argv[1], mesh)
    x = np.random.default_rng(0).uniform(-1, 1, (3, 3, 1, 16, 16)).astype(np.float32)
    a, b = np.asarray(one.moments(x)), four.moments(x)
    kernel = four.params["encoder"]["down"][2]["block"][0]["conv1"]["conv"]["kernel"]
    found = {
        "difference": float(np.abs(a - np.asarray(b)).max()),
        "shard": kernel.addressable_shards[0].data.shape,
        "samples": b.shape,
    }
    print(json.dumps(found))
