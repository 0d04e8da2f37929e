"""Devices to compile for that need not exist: slices of TPU chips, or CPU devices of this process.

A TPU topology is a name like "v5e:2x2" or "v5p:8x8x8": a generation and the chips along each direction of its
network.  libtpu, the compiler, describes and compiles for it without a TPU (jax.experimental.topologies).
"""

import contextlib
import dataclasses
import importlib.util
import math
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

# Directions of each generation's network, and the name that Cloud TPU gives its machines.
_GENERATIONS = {"v4": (3, "v4"), "v5e": (2, "v5litepod"), "v5p": (3, "v5p"), "v6e": (2, "v6e")}
_HOST = (2, 2, 1)  # chips of one host, along each direction


@dataclasses.dataclass(frozen=True)
class Topology:
    """A machine by name.

    Attributes:
      name: "v5e:2x2", "cpu:8".
      kind: a generation of TPUs, or "cpu".
      shape: chips along each direction; of CPUs, how many devices.
    """

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def chips(self) -> int:
        """Devices in all."""
        return math.prod(self.shape)


def parse(name: str) -> Topology:
    """Read the name of a topology.

    Raises:
      ValueError: it is no name of one, with what would be.
    """
    kind, _, size = name.partition(":")
    if kind != "cpu" and kind not in _GENERATIONS:
        raise ValueError(
            f"--topology={name!r}: {kind!r} is unknown; it is one of cpu, {', '.join(_GENERATIONS)}"
        )
    directions = 1 if kind == "cpu" else _GENERATIONS[kind][0]
    example = {1: "8", 2: "4x4", 3: "4x4x4"}[directions]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", size) or size.count("x") != directions - 1:
        raise ValueError(
            f"--topology={name!r} must be {directions} size(s) after {kind}:, as {kind}:{example}"
        )
    return Topology(name, kind, tuple(int(side) for side in size.split("x")))


def devices(topology: Topology) -> list[Any]:
    """Its devices, to build a mesh of and compile for; those of a TPU cannot hold or run anything.

    Call before anything else uses JAX's devices: CPU devices are made once.

    Raises:
      ValueError: libtpu is not installed or does not know the topology, or too few CPU devices were made before.
    """
    # The host computes nothing worth an accelerator, and an attached TPU could belong to a training run.
    jax.config.update("jax_platforms", "cpu")
    return _cpu_devices(topology) if topology.kind == "cpu" else _tpu_devices(topology)


def _cpu_devices(topology: Topology) -> list[Any]:
    with contextlib.suppress(RuntimeError):  # when JAX has made its devices; there may be enough
        jax.config.update("jax_num_cpu_devices", topology.chips)
    found = jax.devices("cpu")
    if len(found) < topology.chips:
        raise ValueError(f"--topology={topology.name!r}: this process has only {len(found)} CPU device(s)")
    return found[: topology.chips]


def _tpu_devices(topology: Topology) -> list[Any]:
    if importlib.util.find_spec("libtpu") is None and "TPU_LIBRARY_PATH" not in os.environ:
        raise ValueError(
            f"--topology={topology.name!r} needs the TPU compiler: "
            ".venv/bin/pip install -r requirements-tpu.txt -c constraints.txt"
        )
    _, cloud_name = _GENERATIONS[topology.kind]
    # Where there is no TPU, libtpu would ask the machine's metadata server for all this, and wait for it.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", f"{cloud_name}-{topology.chips}")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no device is opened: others may compile too
    options: dict[str, Any] = {
        "chips_per_host_bounds": [min(pair) for pair in zip(_HOST, (*topology.shape, 1), strict=False)]
    }
    if topology.kind == "v4":
        options["chip_config_name"] = "megacore"  # the two cores of a chip are one device, as on the machines
    try:
        described = topologies.get_topology_desc(topology.name, platform="tpu", **options)
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--topology={topology.name!r}: libtpu has no such topology: {reason}") from error
    return list(described.devices)
