"""Bytes that the instructions of a compiled program read from and write to a device's main memory (HBM)."""

from ptdit_jax.plan.hlo import Computation, Instruction, Module, arrays
from ptdit_jax.plan.kernels import is_kernel, kernel

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
_ALLOCATES = 'custom_call_target="AllocateBuffer"'  # names memory that a loop will fill, and writes nothing
_SLICES = ("dynamic-slice", "slice", "gather")


def traffic(module: Module, computation: Computation, instruction: Instruction) -> float:
    """Bytes an instruction of a scheduled computation reads from and writes to main memory (HBM)."""
    opcode = instruction.opcode
    if opcode in _FREE or opcode.endswith("-update") or _ALLOCATES in instruction.attributes:
        return 0.0
    written = 0.0 if opcode.endswith("-start") else _written(module, computation, instruction)
    if opcode.endswith("-done"):  # what it read was counted when it started
        return written
    if is_kernel(instruction):
        reads = zip(instruction.operands, kernel(computation, instruction).reads, strict=True)
        return written + sum(_hbm(computation, name) * times for name, times in reads)
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
    root = fused.behind(fused.root, "bitcast")
    results = root.operands if root.opcode == "tuple" else (root.name,)
    total = 0.0
    for name, shape in zip(results, instruction.parts, strict=False):
        whole = sum(array.bytes for array in arrays(shape) if array.space == 0)
        result = fused.behind(name, "bitcast")
        # Updated in place: the rest of the array is neither read nor written.
        in_place = result.opcode == "dynamic-update-slice"
        total += (
            min(whole, sum(a.bytes for a in fused.instructions[result.operands[1]].arrays))
            if in_place
            else whole
        )
    return total


def _read(module: Module, computation: Computation, name: str, user: Instruction) -> float:
    """Bytes of `name` that `user` reads: all of it, or the slices that are taken."""
    whole = _hbm(computation, name)
    if user.opcode in ("fusion", "async-start") and whole:
        inside = module.computations[user.called("calls")[0]]
        places = [inside.parameters[i] for i, operand in enumerate(user.operands) if operand == name]
        return min(whole, sum(_read_by_users(module, inside, place) for place in places))
    if user.opcode in _SLICES and user.operands[0] == name:
        return min(whole, sum(array.bytes for array in user.arrays))
    if user.opcode == "slice-start":  # its shape: (what it reads, the slice, a token)
        return min(whole, user.arrays[1].bytes)
    if user.opcode == "dynamic-update-slice" and user.operands[0] == name:
        return 0.0
    return whole


def _read_by_users(module: Module, computation: Computation, name: str) -> float:
    total = float(_hbm(computation, name)) if name == computation.root else 0.0
    for user in computation.users(name):
        if _passes_on(module, name, user):
            total += _read_by_users(module, computation, user.name)
        else:
            total += _read(module, computation, name, user)
    return total


def _passes_on(module: Module, name: str, user: Instruction) -> bool:
    """Whether an instruction inside a fusion is `name` by another shape, as a fusion of a bitcast alone is."""
    if user.opcode != "fusion":
        return user.opcode == "bitcast"
    inside = module.computations[user.called("calls")[0]]
    source = inside.behind(inside.root, "bitcast")
    return source.opcode == "parameter" and user.operands[int(source.argument)] == name
