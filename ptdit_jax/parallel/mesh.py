"""The device mesh of a run."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh


def make_mesh(mesh: Any) -> Mesh:
    """The mesh of `config.mesh` over all devices of all processes; the one size of -1 takes the devices left.

    Axes are "auto": the compiler places what the sharding of inputs and outputs leaves open.
    """
    sizes = dict(mesh)
    fixed = int(np.prod([size for size in sizes.values() if size != -1]))
    shape = tuple(jax.device_count() // fixed if size == -1 else size for size in sizes.values())
    return jax.make_mesh(shape, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
