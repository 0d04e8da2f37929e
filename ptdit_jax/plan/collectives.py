"""What devices send each other in a compiled program: which devices, along which axes of the mesh, how many bytes."""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping

import numpy as np

from ptdit_jax.plan.hlo import Computation, Instruction, Module, arrays, integers

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "collective-permute",
    "all-to-all",
    "collective-broadcast",
)
"""Collectives, by opcode; each also has a form that ends in "-start"."""


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


def replica_groups(instruction: Instruction, devices: int) -> list[tuple[int, ...]]:
    """The devices that a collective runs among, or the (source, target) pairs of a permute.

    Read are `{{0,1},{2,3}}`, `{}` (all devices), the iota form `[2,4]<=[4,2]T(1,0)`: the numbers from 0 in an array
    (4, 2), transposed, cut into 2 rows of 4; and `mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}`: the same numbers
    in an array (a, b), grouped along b, or along a part of an axis, `'b':(1)2` for its major 2.

    Args:
      instruction: a collective.
      devices: of the whole program.

    Raises:
      ValueError: the groups are written in another way.
    """
    text = instruction.attributes
    if match := re.search(r"\b(?:replica_groups|source_target_pairs)=\{((?:\{[\d,]*\},?)*)\}", text):
        groups = [integers(group) for group in re.findall(r"\{([\d,]*)\}", match[1])]
        return groups or [tuple(range(devices))]
    if match := re.search(r"\breplica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        rows = _iota(match[2], match[3]).reshape(integers(match[1])[0], -1)
    elif match := re.search(
        r"\breplica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}",
        text,
    ):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", match[1])}
        numbers = _iota(match[2] or str(math.prod(sizes.values())), match[3])
        rows = _along(numbers, sizes, re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", match[4]))
    else:
        raise ValueError(f"{instruction.opcode} {instruction.name}: no groups of devices in {text[:200]!r}")
    return [tuple(map(int, row)) for row in rows]


def _iota(sizes: str, order: str | None) -> np.ndarray:
    """The numbers from 0 in an array, transposed."""
    dims = integers(sizes)
    return np.arange(math.prod(dims)).reshape(dims).transpose(integers(order or "") or None)


def _along(numbers: np.ndarray, sizes: dict[str, int], chosen: list[tuple[str, str, str]]) -> np.ndarray:
    """Rows of the numbers that differ along the chosen (axis, size before, size) alone; "" for the whole axis."""
    dims, inside = [], []
    for axis, size in sizes.items():
        spans = [
            (int(before or 1), int(before or 1) * int(part or size))
            for a, before, part in chosen
            if a == axis
        ]
        cuts = sorted({1, size, *(cut for span in spans for cut in span)})
        for low, high in itertools.pairwise(cuts):
            dims.append(high // low)
            inside.append(any(start <= low and high <= stop for start, stop in spans))
    order = sorted(range(len(dims)), key=lambda i: inside[i])
    group = math.prod(dim for dim, chosen in zip(dims, inside, strict=True) if chosen)
    return numbers.reshape(dims).transpose(order).reshape(-1, group)
