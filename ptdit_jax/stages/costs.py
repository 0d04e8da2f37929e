"""What a stage costs on a machine, before anything runs: size, work, memory, time, disk.

Memory and the bounds on time are read off the step as `plan` compiles it for a topology, or as it is compiled and
timed on this machine, like the points of a sweep.  Where that cannot be (no compiler, or the state alone is too
large), they are the estimates of `cost`, for a device that holds the whole network and its share of the batch.
"""

import copy
import dataclasses
import math
from typing import Any

import jax

from ptdit_jax import config as rules
from ptdit_jax.cost import memory as estimate
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import make_program
from ptdit_jax.parallel import chips, topology
from ptdit_jax.parallel.axes import RULES, filled
from ptdit_jax.parallel.chips import Chip
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.plan.measure import measure
from ptdit_jax.processes import environment
from ptdit_jax.stages.recipe import Run
from ptdit_jax.sweep.compiler import answer_of
from ptdit_jax.sweep.counts import count


@dataclasses.dataclass(frozen=True)
class Target:
    """The machine that stages are planned for.

    Attributes:
      name: for people.
      devices: to compile for; () where there is no compiler for them.
      count: how many there are.
      chip: what each can do; None for a CPU.
      described: the topology, which need not be there; None for this machine.
      note: why there is no compiler, or "".
    """

    name: str
    devices: tuple[Any, ...]
    count: int
    chip: Chip | None
    described: topology.Topology | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a stage costs.

    Attributes:
      run: the stage.
      parameters: of the network.
      macs: multiply-accumulates of a forward pass of one sample.
      samples: seen in all steps.
      state: bytes a device holds between steps.
      memory: bytes a device needs during a step.
      limit: bytes that it has; inf where not known.
      seconds: of a step, as timed; nan where it was not.
      bounds: seconds that a step takes at least, by what a chip does; {} where not known.
      disk: bytes of all checkpoints that are kept, and the one that is being written.
      source: "timed", "compiled" or "estimated".
      note: why it is an estimate, or "".
    """

    run: Run
    parameters: int
    macs: int
    samples: int
    state: float
    memory: float
    limit: float
    seconds: float
    bounds: dict[str, float]
    disk: float
    source: str
    note: str = ""

    @property
    def fits(self) -> bool:
        """Whether a device holds the step; an estimate says nothing of a network that devices share."""
        mesh = self.run.config.mesh
        is_whole = mesh.fsdp * mesh.tensor * mesh.context == 1
        return self.memory <= self.limit or (self.source == "estimated" and not is_whole)

    def step_seconds(self, utilisation: float) -> float:
        """Seconds of a step: as timed, or the largest bound, when arithmetic reaches a share of the chips' peak."""
        if not math.isnan(self.seconds) or not self.bounds:
            return self.seconds
        return max(s / utilisation if kind == "arithmetic" else s for kind, s in self.bounds.items())


def target(name: str | None) -> Target:
    """The machine of a topology's name, or this one.

    Raises:
      ValueError: the name is none, or the compiler does not know it.
    """
    if name is None:
        devices = environment.devices()
        text = environment.describe(devices, chips.host_memory())
        return Target(text, tuple(devices), len(devices), chips.lookup(devices[0].device_kind))
    machine = topology.parse(name)
    chip = chips.CHIPS.get(machine.kind)
    try:
        devices = tuple(topology.devices(machine))
    except ValueError as error:
        if "needs the TPU compiler" not in str(error):
            raise
        return Target(name, (), machine.chips, chip, machine, str(error))
    return Target(name, devices, machine.chips, chip, machine)


def cost(run: Run, machine: Target) -> Cost:
    """What a stage with a valid config costs on a machine."""
    config = copy.deepcopy(run.config)
    counts = count(config)
    limit = machine.chip.hbm_bytes if machine.chip else math.inf if machine.described else chips.host_memory()
    common = {
        "run": run,
        "parameters": counts.parameters,
        "macs": counts.macs,
        "samples": config.data.batch * config.train.steps,
        "disk": checkpoints(config),
        "limit": limit,
    }
    try:
        rules.validate(config, devices=machine.count, check_data=False)
    except ValueError as error:
        return _estimated(common, config, machine, " and ".join(str(error).splitlines()))
    config.mesh.update(filled(config.mesh.to_dict(), machine.count))
    if not machine.devices:
        return _estimated(common, config, machine, machine.note)
    mesh = make_mesh(config.mesh, machine.devices)
    state = make_program(config, build(config, mesh=mesh), mesh).state_bytes
    if machine.described is None:
        if state > limit:
            return _estimated(common, config, machine, "the state alone is too large, so it was not compiled")
        found = answer_of(config, None, 0.0, 1)
        common["limit"] = found["limit"]
        return Cost(
            **common,
            state=state,
            memory=found["memory"],
            seconds=found["step_seconds"],
            bounds={},
            source="timed",
        )
    plan = measure(run.name, config, machine.described, mesh)
    return Cost(
        **common, state=state, memory=plan.bytes, seconds=math.nan, bounds=plan.bounds, source="compiled"
    )


def _estimated(common: dict[str, Any], config: Any, machine: Target, note: str) -> Cost:
    """By `cost`'s counting, on a device with the whole network and its share of the batch."""
    sizes = filled(config.mesh.to_dict(), machine.count)
    replicas = max(1, math.prod(sizes[name] for name in RULES["batch"]))
    share = copy.deepcopy(config)
    share.data.batch = max(share.optimizer.accumulate, config.data.batch // replicas)
    memory = estimate.measure(share)
    bounds = {}
    if machine.chip is not None:
        flops = (
            3 * 2 * common["macs"] * config.data.batch / machine.count
        )  # the backward pass: twice the forward's
        bounds = {"arithmetic": flops / machine.chip.flops_bf16}
    return Cost(
        **common,
        state=memory.state,
        memory=memory.total,
        seconds=math.nan,
        bounds=bounds,
        source="estimated",
        note=note,
    )


def checkpoints(config: Any) -> float:
    """Bytes of the checkpoints of a run, float32 as they are in memory; those of a run that keeps all, too."""
    mesh = make_mesh({"data": -1}, jax.devices()[:1])
    state = make_program(config, build(config, mesh=mesh), mesh).state_bytes
    saved = math.ceil(config.train.steps / config.checkpoint.every)
    return state * min(saved, (config.checkpoint.keep or saved) + 1)
