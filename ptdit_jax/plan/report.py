"""What `python -m ptdit_jax.plan` found, as text and in plain numbers."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from ptdit_jax.experiment.program import Memory
from ptdit_jax.models.attention import attention
from ptdit_jax.parallel.axes import RULES, TENSOR, whole
from ptdit_jax.parallel.chips import GIB, Chip
from ptdit_jax.plan.hlo_cost import Collective, Cost
from ptdit_jax.text_tables import table

MIB = 2**20
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


def plan_report(plan: Plan) -> str:
    """Everything about one plan."""
    sections = [heading(plan)]
    if plan.memory is None:
        assert plan.chip is not None
        sections.append(
            f"Out of memory: the compiler needs {plan.bytes / GIB:.2f} GiB a chip, {plan.chip.name} has "
            f"{plan.chip.hbm_bytes / GIB:.0f}."
        )
    else:
        sections += [memory_table(plan), collectives_table(plan), bounds_table(plan)]
    return "\n\n".join(sections)


def heading(plan: Plan) -> str:
    """What was compiled."""
    mesh = ", ".join(f"{axis} {size}" for axis, size in plan.mesh.items())
    return (
        f"{plan.name} ({plan.family}, {plan.parameters / 1e6:,.1f} M parameters, {plan.depth} blocks) on "
        f"{plan.topology}: {plan.chips} chips, mesh {mesh}, {plan.batch} sample(s) a step.  "
        f"Compiled in {plan.seconds:.0f} s."
    )


def memory_table(plan: Plan) -> str:
    """Memory by what it is for."""
    memory = plan.memory
    assert memory is not None
    rows = [
        ["arguments", gib(memory.arguments)],
        ["outputs", gib(memory.outputs)],
        ["of these in the place of arguments", gib(-memory.aliased)],
        ["temporaries", gib(memory.temporaries)],
        ["program", gib(memory.code)],
        ["in all", gib(memory.total)],
    ]
    if plan.chip is not None:
        rows.append([f"a chip has ({plan.chip.name})", gib(plan.chip.hbm_bytes)])
    return table(["GiB a chip", ""], rows)


def collectives_table(plan: Plan) -> str:
    """What a chip receives in a step."""
    groups: dict[tuple[str, str, str], list[float]] = collections.defaultdict(lambda: [0, 0.0])
    for collective, count in plan.cost.collectives.items():
        group = groups[purpose_of(collective), collective.kind, "+".join(collective.axes) or "none"]
        group[0] += count
        group[1] += collective.received * count
    rows = [
        [purpose, kind, axes, f"{times:,.0f}", mib(received)]
        for (purpose, kind, axes), (times, received) in sorted(
            groups.items(), key=lambda group: (PURPOSES.index(group[0][0]), group[0])
        )
    ]
    lines = [table(["MiB received a chip and step", "by", "along", "arrays", ""], [*rows, in_all(plan)])]
    if plan.received("activations"):
        lines.append(f"Activations a block: {mib(plan.activations_per_block)} MiB.")
    if plan.cost.unknown_loops:
        loops = ", ".join(sorted(plan.cost.unknown_loops))
        lines.append(f"Loops of unknown length, counted once: {loops}.")
    return "\n\n".join(lines)


def in_all(plan: Plan) -> list[str]:
    """The last row."""
    return ["in all", "", "", f"{sum(plan.cost.collectives.values()):,}", mib(plan.cost.received)]


def bounds_table(plan: Plan) -> str:
    """Work of a chip and the time it takes at least."""
    cost, bounds = plan.cost, plan.bounds
    time = lambda kind: f"{1e3 * bounds[kind]:,.1f}" if bounds else ""  # noqa: E731
    rows = [
        ["arithmetic", f"{amount(cost.flops / 1e12)} TFLOP", time("arithmetic")],
        ["memory traffic", f"{amount(cost.traffic / 1e9)} GB", time("memory")],
        ["interconnect", f"{amount(cost.received / 1e9)} GB", time("interconnect")],
    ]
    text = table(["a chip and step", "", "at least, ms"], rows)
    return (
        f"{text}\n\nXLA's own count of arithmetic, every loop once: {amount(plan.flops_once / 1e12)} TFLOP."
    )


def plans_report(plans: Sequence[Plan]) -> str:
    """A row a plan."""
    header = ["topology", "chips", *plans[0].mesh, "batch", "GiB a chip", "fits", *PURPOSES]
    header += ["arithmetic", "memory", "interconnect", "compiled"]
    rows = [
        [
            plan.topology,
            str(plan.chips),
            *map(str, plan.mesh.values()),
            str(plan.batch),
            gib(plan.bytes),
            "yes" if plan.fits else "no",
            *(mib(plan.received(purpose)) if plan.memory else "" for purpose in PURPOSES),
            *(
                f"{1e3 * plan.bounds[kind]:,.1f}" if plan.bounds else ""
                for kind in ("arithmetic", "memory", "interconnect")
            ),
            f"{plan.seconds:.0f} s",
        ]
        for plan in plans
    ]
    notes = f"{plans[0].name}.  Columns {', '.join(PURPOSES)}: MiB a chip receives a step.  " + (
        "Columns arithmetic, memory, interconnect: ms that a step takes at least by each."
    )
    return f"{table(header, rows)}\n\n{notes}"


def comparison_report(ours: Plan, full: Plan) -> str:
    """The traffic of activations beside that of full attention."""
    rows = [
        [
            plan.family,
            f"{plan.depth}",
            gib(plan.bytes),
            *(mib(plan.received(p)) if plan.memory else "" for p in PURPOSES),
            mib(plan.activations_per_block) if plan.memory else "",
        ]
        for plan in (ours, full)
    ]
    header = ["MiB received a chip and step", "blocks", "GiB a chip", *PURPOSES, "activations a block"]
    text = f"{heading(ours)}\n{heading(full)}\n\n{table(header, rows)}"
    if ours.memory and full.memory and ours.activations_per_block:
        ratio = full.activations_per_block / ours.activations_per_block
        text += f"\n\nFull attention receives {ratio:.1f} times as much."
    if full.memory is None:
        text += "\n\nFull attention does not fit here; a chip with more memory shows what it receives."
    return text


def as_json(plan: Plan) -> dict[str, Any]:
    """Everything, in bytes, FLOPs and seconds."""
    fields = {
        f.name: getattr(plan, f.name)
        for f in dataclasses.fields(plan)
        if f.name not in ("cost", "chip", "memory", "flops_once")
    }
    fields["chip"] = plan.chip and dataclasses.asdict(plan.chip)
    fields["fits"] = plan.fits
    if plan.memory is None:
        return fields
    return fields | {
        "memory": dataclasses.asdict(plan.memory) | {"total": plan.memory.total},
        "flops": plan.cost.flops,
        "flops_once": None if math.isnan(plan.flops_once) else plan.flops_once,
        "traffic": plan.cost.traffic,
        "received": {purpose: plan.received(purpose) for purpose in PURPOSES} | {"total": plan.cost.received},
        "activations_received_per_block": plan.activations_per_block,
        "collectives": [
            dataclasses.asdict(collective) | {"purpose": purpose_of(collective), "count": count}
            for collective, count in plan.cost.collectives.items()
        ],
        "unknown_loops": sorted(plan.cost.unknown_loops),
        "bounds": plan.bounds,
    }


def gib(count: float) -> str:
    """In GiB."""
    return amount(count / GIB)


def mib(count: float) -> str:
    """In MiB."""
    return amount(count / MIB)


def amount(number: float) -> str:
    """Two decimals, or two digits of what is less than one."""
    return f"{number:,.2f}" if abs(number) >= 1 or number == 0 else f"{number:.2g}"
