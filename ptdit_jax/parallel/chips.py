"""What accelerators can do at most: the yardstick of utilisation, and of the bounds that `plan` prints.

Sources: the pages of each generation under cloud.google.com/tpu/docs (v4, v5e, v5p, v6e), and NVIDIA's data sheets
of A100, H100 and H200 (figures without sparsity).  Interconnect there is given as bits a second, or as the sum of
both directions; here it is what a chip sends over all its links, in one direction.
"""

import dataclasses
import os
from pathlib import Path

import jax

GIB = 2**30  # bytes


@dataclasses.dataclass(frozen=True)
class Chip:
    """One accelerator, as one device of JAX.

    Attributes:
      name: short, as in the name of a topology ("v5e").
      flops_bf16: FLOP/s of matrix products of bfloat16, accumulated in float32; also the yardstick of float32
        training, whose matrix products run in one pass of bfloat16 (TPU) or in TF32 (GPU) unless told otherwise.
      hbm_bytes: bytes of memory; compilers and drivers keep a little of it.
      hbm_bandwidth: bytes/s.
      ici_bandwidth: bytes/s that it can send to its neighbours (ICI, NVLink), over all links.
    """

    name: str
    flops_bf16: float
    hbm_bytes: int
    hbm_bandwidth: float
    ici_bandwidth: float


CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip("v4", 275e12, 32 * GIB, 1228e9, 300e9),
        Chip("v5e", 197e12, 16 * GIB, 819e9, 200e9),
        Chip("v5p", 459e12, 95 * GIB, 2765e9, 600e9),
        Chip("v6e", 918e12, 32 * GIB, 1640e9, 400e9),
        Chip("A100-40GB", 312e12, 40 * GIB, 1555e9, 300e9),
        Chip("A100-80GB", 312e12, 80 * GIB, 2039e9, 300e9),
        Chip("H100", 989e12, 80 * GIB, 3350e9, 450e9),
        Chip("H200", 989e12, 141 * 10**9, 4800e9, 450e9),
    )
}
"""By name."""

# By `jax.Device.device_kind`.  PCIe and NVL cards are other chips: fewer FLOP/s, another interconnect.
_KINDS = {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "NVIDIA A100-SXM4-40GB": "A100-40GB",
    "NVIDIA A100-SXM4-80GB": "A100-80GB",
    "NVIDIA H100 80GB HBM3": "H100",
    "NVIDIA H200": "H200",
}


def lookup(device_kind: str) -> Chip | None:
    """The chip of a device.

    Args:
      device_kind: `jax.devices()[0].device_kind`, real or of a compile-only topology.

    Returns:
      None for a kind that is not in the table, such as a CPU.
    """
    name = _KINDS.get(device_kind)
    return CHIPS[name] if name else None


@dataclasses.dataclass(frozen=True)
class Machine:
    """The machine of a run.

    Attributes:
      devices: of all processes.
      device_bytes: memory of one of them.
      processes: in all.
      host_bytes: memory of the host of one process.
      platform: of the devices, as `jax.Device.platform`; None where it is not known.
    """

    devices: int
    device_bytes: int
    processes: int
    host_bytes: int
    platform: str | None = None


def here() -> Machine:
    """The machine that this process runs on, with its peers; devices of a CPU have the host's memory."""
    host = host_memory()
    memory = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", host)
    return Machine(jax.device_count(), memory, jax.process_count(), host, jax.local_devices()[0].platform)


def host_memory() -> int:
    """Bytes that this machine, or the container, may use."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    control = Path("/sys/fs/cgroup/memory.max")
    given = control.read_text().strip() if control.exists() else "max"
    return min(memory, int(given)) if given.isdecimal() else memory
