"""One config compiled for one machine: what its training step needs there, read off the program."""

import dataclasses
import math
import time
from typing import Any

import jax
from jax.sharding import Mesh

from ptdit_jax import config as rules
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import Memory, compile_step, make_program, out_of_memory
from ptdit_jax.models.attention import attention
from ptdit_jax.models.feed_forward import feed_forward
from ptdit_jax.parallel import chips, topology
from ptdit_jax.parallel.axes import RULES, TENSOR, whole
from ptdit_jax.parallel.chips import GIB, Chip
from ptdit_jax.plan import hlo, hlo_cost
from ptdit_jax.plan.collectives import Collective
from ptdit_jax.plan.hlo_cost import Cost

SCALAR = 16  # bytes; an all-reduce of one number brings a device at most half of it
PURPOSES = ("activations", "parameters", "gradients", "other")


@dataclasses.dataclass(frozen=True)
class Plan:
    """One config compiled for one machine.

    Attributes:
      name: of the config.
      family: of the network.
      topology: "v5e:2x2".
      chips: in all.
      chip: what each can do; None for a CPU.
      mesh: sizes of the axes.
      batch: samples a step over all chips.
      depth: blocks.
      parameters: of the network.
      seconds: tracing and compilation.
      memory: None when the compiler found that it does not fit.
      out_of_memory: bytes a chip that it wanted then.
      cost: of one chip and step.
      flops_once: FLOPs by XLA's cost analysis, which counts the body of a loop once.
    """

    name: str
    family: str
    topology: str
    chips: int
    chip: Chip | None
    mesh: dict[str, int]
    batch: int
    depth: int
    parameters: int
    seconds: float = 0.0
    memory: Memory | None = None
    out_of_memory: float | None = None
    cost: Cost = dataclasses.field(default_factory=Cost)
    flops_once: float = math.nan

    @property
    def fits(self) -> bool:
        """Whether a chip's memory holds the step; a CPU's is not known."""
        return self.memory is not None and (self.chip is None or self.memory.total <= self.chip.hbm_bytes)

    @property
    def bytes(self) -> float:
        """Memory of a chip, also where it does not fit."""
        return self.memory.total if self.memory else self.out_of_memory or math.nan

    @property
    def bounds(self) -> dict[str, float]:
        """Seconds that a step takes at least, by what a chip computes, moves in its memory, and receives."""
        if self.chip is None or self.memory is None:
            return {}
        return {
            "arithmetic": self.cost.flops / self.chip.flops_bf16,
            "memory": self.cost.traffic / self.chip.hbm_bandwidth,
            "interconnect": self.cost.received / self.chip.ici_bandwidth,
        }

    @property
    def rank(self) -> tuple[bool, float, float, float]:
        """Sorts what fits first, then by the largest bound, then by communication and memory."""
        return (not self.fits, max(self.bounds.values(), default=0.0), self.cost.received, self.bytes)

    def received(self, purpose: str) -> float:
        """Bytes a chip receives a step for one of `PURPOSES`."""
        return sum(c.received * n for c, n in self.cost.collectives.items() if purpose_of(c) == purpose)

    @property
    def activations_per_block(self) -> float:
        """Bytes of activations and their gradients a chip receives, per block and step."""
        return self.received("activations") / self.depth

    @property
    def line(self) -> str:
        """The plan on one line."""
        mesh = " ".join(f"{axis}={size}" for axis, size in self.mesh.items() if size > 1) or "one chip"
        state = "" if self.fits else " does not fit"
        return f"{self.name} {self.topology} {mesh}: {self.bytes / GIB:.2f} GiB{state}, {self.seconds:.0f} s"


def purpose_of(collective: Collective) -> str:
    """What a collective carries.

    "parameters" are gathered for use, "gradients" of parameters, and of what all devices share, are added up, and
    "other" is outside the network: the loss and norms, single numbers, and moves of a batch.  All the rest are
    "activations", with the gradients of these.
    """
    is_sum = collective.kind in ("all-reduce", "reduce-scatter")
    inside = "shard_map" in collective.op_name
    backward = "transpose(" in collective.op_name and "rematted_computation" not in collective.op_name
    # This one's own backward pass has no other place than its call, and exchanges nothing but parameters there.
    if collective.function == feed_forward.__qualname__ and set(collective.axes) != {TENSOR}:
        return "parameters" if collective.op_name.endswith("all_gather") else "gradients"
    # Replicas have different samples and share nothing of these.  A TPU takes a sum apart, into parts of the product
    # before it that go round, or into a sum of shares and a gather.
    if collective.function == whole.__qualname__ or (inside and set(collective.axes) & set(RULES["batch"])):
        return "gradients" if is_sum or backward else "parameters"
    if not inside:
        return "gradients" if is_sum and collective.received > SCALAR else "other"
    # The compiler may write a reduce-scatter, of the gradients of gathered keys and values, as an all-reduce, and then
    # what it works on tells: products of the attention itself, where no parameter has a part.
    is_sum = collective.kind == "all-reduce" and not collective.op_name.endswith("reduce_scatter")
    is_sum = is_sum and collective.function != attention.__qualname__
    if is_sum and "transpose(" in collective.op_name and set(collective.axes) != {TENSOR}:
        return "gradients"
    return "activations"


def measure(name: str, config: Any, machine: topology.Topology, mesh: Mesh) -> Plan:
    """Compile the step of a valid config for a mesh of a machine's devices and read the program."""
    experiment = build(config, mesh=mesh)
    program = make_program(config, experiment, mesh)
    arch = rules.architecture(config)
    plan = Plan(
        name=name,
        family=config.model.family,
        topology=machine.name,
        chips=machine.chips,
        chip=chips.lookup(mesh.devices.flat[0].device_kind),
        mesh=dict(mesh.shape),
        batch=config.data.batch,
        depth=arch.depth,
        parameters=program.parameters,
    )
    began = time.perf_counter()
    try:
        compiled, memory = compile_step(program)
    except jax.errors.JaxRuntimeError as error:
        needed = out_of_memory(str(error))
        if needed is None:
            raise
        seconds = time.perf_counter() - began
        return dataclasses.replace(plan, seconds=seconds, out_of_memory=needed)
    seconds = time.perf_counter() - began
    analysis = compiled.cost_analysis() or {}
    return dataclasses.replace(
        plan,
        seconds=seconds,
        memory=memory,
        cost=hlo_cost.program_cost(hlo.parse(compiled.as_text() or ""), mesh.shape),
        flops_once=analysis.get("flops", math.nan),
    )
