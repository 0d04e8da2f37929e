"""What one device computes, moves and receives when it runs a compiled program, loops counted as often as they run.

`Compiled.cost_analysis()` counts the body of a loop once; a scan over 28 blocks would look like one block.  Here a
computation's cost is that of its instructions, a loop's its body's times the trip count that XLA writes down.
"""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Mapping

import numpy as np

from ptdit_jax.plan.hlo import Computation, Instruction, Module, arrays, replica_groups, trip_count

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "collective-permute",
    "all-to-all",
    "collective-broadcast",
)
"""Collectives, by opcode; each also has a form that ends in "-start"."""

# Instructions that name or wrap arrays, and move nothing.
_FREE = frozenset(
    {
        "parameter",
        "constant",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "after-all",
        "partition-id",
        "replica-id",
    }
    | {"opt-barrier", "while", "conditional", "call", "add-dependency", "domain"}
)
_SLICES = ("dynamic-slice", "slice", "gather")


@dataclasses.dataclass(frozen=True)
class Collective:
    """Equal exchanges of one array between devices; an instruction may exchange several.

    Attributes:
      kind: one of `KINDS`.
      axes: the mesh axes along which the devices of a group differ, () without a mesh.
      group: devices of a group; 2 for a permute, whose devices receive from one other.
      received: bytes that a device receives each time; of a permute, a device that receives at all.
      op_name: where JAX made it, "jit(step)/jvp()/while/body/all_gather"; "" where nothing near it says.
      function: whose line made it, "" where the program does not say.
    """

    kind: str
    axes: tuple[str, ...]
    group: int
    received: float
    op_name: str
    function: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one device does in one run of a program.

    Attributes:
      flops: of matrix products and convolutions, 2 a multiply-accumulate.
      traffic: bytes that scheduled instructions read from and write to main memory.
      collectives: how often each happens.
      unknown_loops: names of loops without a trip count, whose bodies count once.
    """

    flops: float = 0.0
    traffic: float = 0.0
    collectives: Mapping[Collective, int] = dataclasses.field(default_factory=dict)
    unknown_loops: frozenset[str] = frozenset()

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
        )

    def __mul__(self, times: int) -> "Cost":
        collectives = {collective: count * times for collective, count in self.collectives.items()}
        return Cost(self.flops * times, self.traffic * times, collectives, self.unknown_loops)


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


def is_continued(computation: Computation, instruction: Instruction) -> bool:
    """Whether a collective was counted where it started.

    A TPU that runs one beside other work repeats it in the fusion that starts it, in each that it runs beside, and in
    the one that ends it.
    """
    starts = any("AsyncCollectiveStart" in user.attributes for user in computation.users(instruction.name))
    return "async_collective_fusion_config" in instruction.attributes and not starts


def collectives_of(
    module: Module, computation: Computation, instruction: Instruction, mesh: Mapping[str, int]
) -> list[Collective]:
    """What a device receives each time a collective runs, in rings or better, for each array of its result.

    Of a group of g devices, with R the bytes of the result: all-gather (g-1)/g·R, all-reduce 2(g-1)/g·R,
    reduce-scatter (g-1)·R, all-to-all (g-1)/g·R, permute and broadcast R.
    """
    kind = instruction.opcode.removesuffix("-start")
    shape = instruction.shape
    if instruction.opcode in ("all-gather-start", "collective-permute-start"):
        shape = instruction.parts[1]  # (operand, result, ...)
    groups = replica_groups(instruction, module.devices)
    g = max(map(len, groups))
    if kind == "collective-permute":
        groups = [pair for pair in groups if pair[0] != pair[1]]
    share = {
        "all-gather": (g - 1) / g,
        "all-reduce": 2 * (g - 1) / g,
        "reduce-scatter": g - 1,
        "all-to-all": (g - 1) / g,
        "collective-permute": bool(groups),
        "collective-broadcast": g > 1,
    }[kind]
    axes = tuple(mesh_axes(groups, mesh)) if mesh else ()
    found = []
    for index, array in enumerate(arrays(shape)):
        source = _source(computation, instruction, index)
        function = module.functions.get(source.frame or 0, "")
        found.append(Collective(kind, axes, g, share * array.bytes, source.op_name, function))
    return found


def _source(computation: Computation, instruction: Instruction, index: int) -> Instruction:
    """The instruction that tells where an array of a collective is from.

    The compiler merges collectives; then those that take the merged result apart still say what each part was, or
    else those that made the operands.
    """
    takers = [user for user in computation.users(instruction.name) if user.opcode == "get-tuple-element"]
    part = next((user for user in takers if user.tuple_index == index and user.op_name), None)
    if part is not None:
        return part
    if instruction.op_name and not takers:
        return instruction
    origin = computation.instructions[instruction.operands[min(index, len(instruction.operands) - 1)]]
    while not origin.op_name and origin.operands:
        origin = computation.instructions[origin.operands[0]]
    return origin if origin.op_name and origin.opcode != "parameter" else instruction


def mesh_axes(groups: list[tuple[int, ...]], mesh: Mapping[str, int]) -> list[str]:
    """The axes along which devices of a group differ, devices numbered as the mesh is laid out (row-major)."""
    sizes, varying = tuple(mesh.values()), set()
    for group in groups:
        coordinates = np.array(np.unravel_index(group, sizes))  # (axes, devices)
        varying |= set(np.flatnonzero((coordinates != coordinates[:, :1]).any(1)))
    return [axis for i, axis in enumerate(mesh) if i in varying]


def product_flops(computation: Computation, instruction: Instruction) -> float:
    """2 x multiply-accumulates of a dot or a convolution, 0 of anything else; padding is not multiplied."""
    if instruction.opcode == "dot":
        left = computation.instructions[instruction.operands[0]].arrays[0]
        contracted = math.prod(left.dims[d] for d in instruction.numbers("lhs_contracting_dims"))
        return 2.0 * math.prod(instruction.arrays[0].dims) * contracted
    if instruction.opcode != "convolution":
        return 0.0
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    assert labels is not None, instruction.attributes
    left, right = (computation.instructions[name].arrays[0] for name in instruction.operands[:2])
    lhs, rhs, out = (
        dict(zip(names, dims, strict=True))
        for names, dims in zip(
            labels.groups(), (left.dims, right.dims, instruction.arrays[0].dims), strict=True
        )
    )
    window = dict(
        re.findall(r"(\w+)=([\w\-]+)", (re.search(r"window=\{([^}]*)\}", instruction.attributes) or [""])[0])
    )
    spatial = sorted(name for name in lhs if name.isdigit())
    pairs = 1
    for i, name in enumerate(spatial):
        field = lambda key, default: window[key].split("x")[i] if key in window else default  # noqa: E731, B023
        pairs *= _window_pairs(
            out[name],
            rhs[name],
            lhs[name],
            stride=int(field("stride", "1")),
            pad=int(re.match(r"-?\d+", field("pad", "0_0"))[0]),  # type: ignore[index]
            dilate=int(field("lhs_dilate", "1")),
            tap_dilate=int(field("rhs_dilate", "1")),
        )
    groups = int((re.search(r"batch_group_count=(\d+)", instruction.attributes) or [0, 1])[1])
    return 2.0 * pairs * lhs["b"] // groups * out["f"] * rhs["i"]


@functools.cache
def _window_pairs(
    outputs: int, taps: int, inputs: int, *, stride: int, pad: int, dilate: int, tap_dilate: int
) -> int:
    """(output, tap) pairs along one axis that meet an input; TPUs write a batch of products as a strided window."""
    total, starts = 0, np.arange(outputs) * stride - pad
    for tap in range(taps):
        at = starts + tap * tap_dilate
        total += int(((at >= 0) & (at < inputs * dilate) & (at % dilate == 0)).sum())
    return total


def traffic(module: Module, computation: Computation, instruction: Instruction) -> float:
    """Bytes an instruction of a scheduled computation reads from and writes to main memory (HBM)."""
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith("-update"):
        return 0.0
    written = 0.0 if opcode.endswith("-start") else _written(module, computation, instruction)
    if opcode.endswith("-done"):  # what it read was counted when it started
        return written
    operands = dict.fromkeys(instruction.operands)
    return written + sum(_read(module, computation, name, instruction) for name in operands)


def _hbm(computation: Computation, name: str) -> int:
    return sum(array.bytes for array in computation.instructions[name].arrays if array.space == 0)


def _written(module: Module, computation: Computation, instruction: Instruction) -> float:
    if instruction.opcode == "dynamic-update-slice":
        return _hbm(computation, instruction.operands[1])
    if instruction.opcode != "fusion":
        return _hbm(computation, instruction.name)
    fused = module.computations[instruction.called("calls")[0]]
    root = _behind_bitcasts(fused, fused.root)
    results = root.operands if root.opcode == "tuple" else (root.name,)
    shapes = [part for part in instruction.parts]
    total = 0.0
    for name, shape in zip(results, shapes, strict=False):
        whole = sum(array.bytes for array in arrays(shape) if array.space == 0)
        result = _behind_bitcasts(fused, name)
        # Updated in place: the rest of the array is neither read nor written.
        in_place = result.opcode == "dynamic-update-slice"
        total += (
            min(whole, sum(a.bytes for a in fused.instructions[result.operands[1]].arrays))
            if in_place
            else whole
        )
    return total


def _behind_bitcasts(computation: Computation, name: str) -> Instruction:
    instruction = computation.instructions[name]
    while instruction.opcode == "bitcast":
        instruction = computation.instructions[instruction.operands[0]]
    return instruction


def _read(module: Module, computation: Computation, name: str, user: Instruction) -> float:
    """Bytes of `name` that `user` reads: all of it, or the slices that are taken."""
    whole = _hbm(computation, name)
    if user.opcode in ("fusion", "async-start") and whole:
        inside = module.computations[user.called("calls")[0]]
        places = [inside.parameters[i] for i, operand in enumerate(user.operands) if operand == name]
        return min(whole, sum(_read_by_users(module, inside, place) for place in places))
    if user.opcode in _SLICES and user.operands[0] == name:
        return min(whole, sum(array.bytes for array in user.arrays))
    if user.opcode == "dynamic-update-slice" and user.operands[0] == name:
        return 0.0
    return whole


def _read_by_users(module: Module, computation: Computation, name: str) -> float:
    total = 0.0
    for user in computation.users(name):
        if user.opcode == "bitcast":
            total += _read_by_users(module, computation, user.name)
        else:
            total += _read(module, computation, name, user)
    return total
