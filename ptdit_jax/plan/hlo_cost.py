"""What one device computes, moves and receives when it runs a compiled program, loops counted as often as they run.

`Compiled.cost_analysis()` counts the body of a loop once; a scan over 28 blocks would look like one block.  Here a
computation's cost is that of its instructions, a loop's its body's times the trip count that XLA writes down.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping

from ptdit_jax.plan.collectives import KINDS, Collective, collectives_of, is_continued
from ptdit_jax.plan.hlo import Computation, Instruction, Module
from ptdit_jax.plan.kernels import is_kernel, kernel
from ptdit_jax.plan.loops import trip_count
from ptdit_jax.plan.products import product_flops
from ptdit_jax.plan.traffic import traffic


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one device does in one run of a program.

    Attributes:
      flops: of matrix products, convolutions and kernels, 2 a multiply-accumulate.
      traffic: bytes that scheduled instructions read from and write to main memory.
      collectives: how often each happens.
      unknown_loops: names of loops without a trip count, whose bodies count once.
      unknown_kernels: names of kernels that do not say what they compute, whose FLOPs are left out and whose operands
        are read once.
    """

    flops: float = 0.0
    traffic: float = 0.0
    collectives: Mapping[Collective, int] = dataclasses.field(default_factory=dict)
    unknown_loops: frozenset[str] = frozenset()
    unknown_kernels: frozenset[str] = frozenset()

    @property
    def received(self) -> float:
        """Bytes received in all."""
        return sum(collective.received * count for collective, count in self.collectives.items())

    def __add__(self, other: "Cost") -> "Cost":
        collectives = collections.Counter(self.collectives)
        collectives.update(other.collectives)
        return Cost(
            self.flops + other.flops,
            self.traffic + other.traffic,
            collectives,
            self.unknown_loops | other.unknown_loops,
            self.unknown_kernels | other.unknown_kernels,
        )

    def __mul__(self, times: int) -> "Cost":
        collectives = {collective: count * times for collective, count in self.collectives.items()}
        return dataclasses.replace(
            self, flops=self.flops * times, traffic=self.traffic * times, collectives=collectives
        )


def program_cost(module: Module, mesh: Mapping[str, int] | None = None) -> Cost:
    """The cost of one run.

    Args:
      module: from `hlo.parse`.
      mesh: sizes of the mesh axes in order, to name the axes of a collective; their product is the devices of the
        program, which are numbered as the mesh is laid out.

    Raises:
      ValueError: the mesh has another number of devices, or a collective is written in an unknown way.
    """
    mesh = dict(mesh or {})
    if mesh and math.prod(mesh.values()) != module.devices:
        raise ValueError(f"mesh {mesh} has {math.prod(mesh.values())} devices, the program {module.devices}")

    @functools.cache
    def cost(name: str, fused: bool) -> Cost:
        computation, total = module.computations[name], Cost()
        for instruction in computation.instructions.values():
            total += instruction_cost(computation, instruction, fused)
        return total

    def instruction_cost(computation: Computation, instruction: Instruction, fused: bool) -> Cost:
        opcode = instruction.opcode
        own = Cost(
            flops=product_flops(computation, instruction),
            traffic=0.0 if fused else traffic(module, computation, instruction),
        )
        if opcode.removesuffix("-start") in KINDS:
            if not is_continued(computation, instruction):
                found = collectives_of(module, computation, instruction, mesh)
                own += Cost(collectives=collections.Counter(found))
        elif is_kernel(instruction):
            flops = kernel(computation, instruction).flops
            own += Cost(flops or 0.0, unknown_kernels=frozenset({instruction.name} if flops is None else ()))
        elif opcode == "while":
            trips = trip_count(module, computation, instruction)
            (body,), (condition,) = instruction.called("body"), instruction.called("condition")
            own += (cost(body, fused) + cost(condition, fused)) * (1 if trips is None else trips)
            own += Cost(unknown_loops=frozenset({instruction.name} if trips is None else ()))
        elif opcode == "conditional":
            branches = [
                cost(branch, fused)
                for attribute in ("branch_computations", "true_computation", "false_computation")
                for branch in instruction.called(attribute)
            ]
            own += max(branches, key=lambda branch: (branch.flops, branch.received, branch.traffic))
        elif opcode == "call":
            own += cost(instruction.called("to_apply")[0], fused)
        elif opcode in ("fusion", "async-start"):  # the whole of it is one pass over its operands
            own += cost(instruction.called("calls")[0], True)
        return own

    return cost(module.entry, False)
