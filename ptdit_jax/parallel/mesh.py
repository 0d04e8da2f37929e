"""The device mesh of a run."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from ptdit_jax.parallel.axes import AXES, filled
from ptdit_jax.parallel.rules import batch_sharding


def make_mesh(mesh: Any, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of `config.mesh`; the one size of -1 takes the devices left.

    Axes are "auto": the compiler places what the sharding of inputs and outputs leaves open.  Neighbours along the
    last axes, which talk most, are neighbours in the interconnect; slices of a TPU (Multislice) differ along "data".

    Args:
      mesh: size of each axis.
      devices: all of them are used; None for those of all processes.

    Raises:
      ValueError: the slices do not divide the size along "data", or the interconnect has no such arrangement.
    """
    devices = jax.devices() if devices is None else devices
    sizes = filled({name: mesh[name] for name in AXES if name in mesh}, len(devices))
    return Mesh(
        arrange(tuple(sizes.values()), devices), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes)
    )


def arrange(shape: tuple[int, ...], devices: Sequence[Any]) -> np.ndarray:
    """Devices in an array of `shape`, whose first axis is "data"; see `make_mesh`, which raises what this does."""
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if shape[0] % slices:
        raise ValueError(
            f"mesh.data={shape[0]} must be a multiple of the {slices} slices, which are replicas of each other"
        )
    # Unlike in `jax.make_mesh`, an axis may be part of a physical one: 4 of the 8 along a side of v5p:8x8x8.
    options: dict[str, Any] = {"devices": devices, "allow_split_physical_axes": True}
    try:
        if slices == 1:
            return mesh_utils.create_device_mesh(shape, **options)
        inside, across = (shape[0] // slices, *shape[1:]), (slices, *[1] * len(shape[1:]))
        return mesh_utils.create_hybrid_device_mesh(inside, across, **options)
    except NotImplementedError as error:
        raise ValueError(f"mesh {shape} of {len(devices)} devices: {error}") from error


def data_share(mesh: Mesh, batch: int) -> tuple[int, int]:
    """Which part of a global batch this process reads, for `data_pipelines.make_loader`: (index, count).

    Processes whose devices differ along "tensor" and "context" alone read the same samples.

    Raises:
      ValueError: this process's devices hold samples that are no even share of the batch.
    """
    places = batch_sharding(mesh).addressable_devices_indices_map((batch,))
    ranges = sorted({place[0].indices(batch)[:2] for place in places.values() if place is not None})
    start, stop = ranges[0][0], ranges[-1][1]
    size = sum(high - low for low, high in ranges)
    if size != stop - start or batch % size or start % size:
        raise ValueError(
            f"mesh {dict(mesh.shape)} over {jax.process_count()} processes: process {jax.process_index()} holds "
            f"samples {ranges} of data.batch={batch}, which must be one even share; change the order or size of axes"
        )
    return start // size, batch // size
