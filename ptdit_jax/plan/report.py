"""What `python -m ptdit_jax.plan` found, as text and in plain numbers."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from ptdit_jax.parallel.chips import GIB
from ptdit_jax.plan.measure import PURPOSES, Plan, purpose_of
from ptdit_jax.text_tables import amount, gib, mib, table


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
    lines = [
        text,
        f"XLA's own count of arithmetic, every loop once: {amount(plan.flops_once / 1e12)} TFLOP.",
    ]
    if cost.unknown_kernels:
        kernels = ", ".join(sorted(cost.unknown_kernels))
        lines.append(f"Kernels of unknown arithmetic, which is left out: {kernels}.")
    return "\n\n".join(lines)


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
        "unknown_kernels": sorted(plan.cost.unknown_kernels),
        "bounds": plan.bounds,
    }
