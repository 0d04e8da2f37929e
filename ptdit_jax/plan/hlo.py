"""The text of a compiled program (scheduled HLO), read back into instructions.

`jax.stages.Compiled.as_text()` gives the program of one device after partitioning, so every shape in it is what
one device holds.  The grammar read here is that of XLA's printer (openxla.org/xla/operation_semantics); what the
instructions cost is in `hlo_cost`.
"""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterator

import numpy as np

_ARRAY = re.compile(r"(?P<dtype>[a-z]\w*)\[(?P<dims>[\d,<=]*)\](?P<layout>\{[^{}]*\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?(?P<name>[\w.\-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = (?P<rest>.*)$")
_OPERAND = re.compile(r"%([\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of a shape.

    Attributes:
      dtype: as XLA writes it, "f32", "bf16", "pred", ...
      dims: sizes, those of one device.
      space: memory space, 0 the accelerator's main memory (HBM); others are caches and buffers.
    """

    dtype: str
    dims: tuple[int, ...]
    space: int = 0

    @property
    def bytes(self) -> int:
        """Size without the padding of a tiled layout; tokens and opaque handles have none."""
        return math.prod(self.dims) * _bits(self.dtype) // 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      name: unique in its computation.
      shape: text of the result's shape, a tuple's with all its parts.
      opcode: "dot", "fusion", "all-gather-start", ...
      operands: names of instructions of the same computation; of a constant or a parameter, none.
      argument: the text between the opcode's brackets, as "0" of `parameter(0)`.
      attributes: the text after those brackets.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    argument: str
    attributes: str

    @functools.cached_property
    def arrays(self) -> tuple[Array, ...]:
        """The arrays of the result, a tuple's in order."""
        return arrays(self.shape)

    @property
    def parts(self) -> tuple[str, ...]:
        """The texts of a tuple's elements, or of the one shape there is."""
        return tuple(_split(self.shape[1:-1])) if self.shape.startswith("(") else (self.shape,)

    @property
    def op_name(self) -> str:
        """Where JAX made it, "jit(step)/.../while/body/dot_general", or ""."""
        match = re.search(r'op_name="((?:[^"\\]|\\.)*)"', self.attributes)
        return match[1] if match else ""

    def called(self, attribute: str) -> tuple[str, ...]:
        """The computations named by an attribute, `body=%b` or `branch_computations={%a, %b}`; () without it."""
        match = re.search(rf"\b{attribute}=(\{{[^}}]*\}}|%?[\w.\-]+)", self.attributes)
        return tuple(re.findall(r"[\w.\-]+", match[1])) if match else ()

    def numbers(self, attribute: str) -> tuple[int, ...]:
        """The integers of `attribute={1,2}`; () without it."""
        match = re.search(rf"\b{attribute}=\{{([\d,]*)\}}", self.attributes)
        return _integers(match[1]) if match else ()

    @property
    def frame(self) -> int | None:
        """The number of the place in the source that made it, see `Module.functions`."""
        match = re.search(r"stack_frame_id=(\d+)", self.attributes)
        return int(match[1]) if match else None

    @property
    def tuple_index(self) -> int:
        """Of a get-tuple-element."""
        match = re.search(r"\bindex=(\d+)", self.attributes)
        assert match is not None, self.attributes
        return int(match[1])


@dataclasses.dataclass(frozen=True)
class Computation:
    """A function of the program: its instructions by name, in the order they run, and its result's name."""

    name: str
    instructions: dict[str, Instruction]
    root: str

    def users(self, name: str) -> Iterator[Instruction]:
        """The instructions that take the result of `name`."""
        return (self.instructions[user] for user in self._users.get(name, ()))

    @functools.cached_property
    def _users(self) -> dict[str, list[str]]:
        users: dict[str, list[str]] = {}
        for instruction in self.instructions.values():
            for operand in dict.fromkeys(instruction.operands):
                users.setdefault(operand, []).append(instruction.name)
        return users

    @functools.cached_property
    def parameters(self) -> list[str]:
        """Names of the parameters, by number."""
        found = [i for i in self.instructions.values() if i.opcode == "parameter"]
        return [i.name for i in sorted(found, key=lambda i: int(i.argument))]


@dataclasses.dataclass(frozen=True)
class Module:
    """A whole program.

    Attributes:
      computations: by name.
      entry: name of the one that runs.
      devices: partitions times replicas.
      functions: of `Instruction.frame`, the Python function whose line made it, "Linear.__call__".
    """

    computations: dict[str, Computation]
    entry: str
    devices: int
    functions: dict[int, str]


def parse(text: str) -> Module:
    """Read `Compiled.as_text()`.

    Raises:
      ValueError: the text has no entry computation, or a line of a computation that is no instruction.
    """
    computations: dict[str, Computation] = {}
    entry, name, root = "", "", ""
    instructions: dict[str, Instruction] = {}
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            name, root, instructions = header["name"], "", {}
            entry = name if header[1] else entry
        elif name and line.startswith("}"):
            computations[name] = Computation(name, instructions, root)
            name = ""
        elif name and line.strip():
            match = _INSTRUCTION.match(line)
            if match is None:
                raise ValueError(f"computation {name}: {line.strip()[:200]!r} is no instruction of HLO text")
            instruction = _instruction(match["name"], match["rest"])
            instructions[instruction.name] = instruction
            root = instruction.name if match["root"] else root
    if entry not in computations:
        raise ValueError(f"no ENTRY computation in {text[:80]!r}...; this is no text of a compiled program")
    sizes = [re.search(rf"\b{field}=(\d+)", text[:100_000]) for field in ("num_partitions", "replica_count")]
    return Module(computations, entry, math.prod(int(size[1]) for size in sizes if size), _functions(text))


def trip_count(module: Module, computation: Computation, loop: Instruction) -> int | None:
    """How often the body of a while loop runs.

    XLA writes it down on most platforms.  Else it is read off a counter: an element of the loop's tuple that starts at
    a constant, to which the body adds a constant, while it is less than a constant.

    Returns:
      None where neither is found.
    """
    if match := re.search(r'"known_trip_count":\s*\{\s*"n":\s*"?(\d+)', loop.attributes):
        return int(match[1])
    body, condition = (module.computations[loop.called(name)[0]] for name in ("body", "condition"))
    compare = condition.instructions[condition.root]
    if compare.opcode != "compare" or "direction=LT" not in compare.attributes:
        return None
    counter, limit = (_behind_copies(condition, name) for name in compare.operands)
    first, last = computation.instructions[loop.operands[0]], body.instructions[body.root]
    if counter.opcode != "get-tuple-element" or first.opcode != "tuple" or last.opcode != "tuple":
        return None
    index = counter.tuple_index
    step = _behind_copies(body, last.operands[index])
    if step.opcode != "add":
        return None
    summands = [_behind_copies(body, name) for name in step.operands]
    counters = [s for s in summands if s.opcode == "get-tuple-element" and s.tuple_index == index]
    numbers = [_constant(s) for s in summands if s not in counters]
    start, stop = _constant(_behind_copies(computation, first.operands[index])), _constant(limit)
    if len(counters) != 1 or start is None or stop is None or not numbers[0]:
        return None
    return max(0, -(-(stop - start) // numbers[0]))


def arrays(shape: str) -> tuple[Array, ...]:
    """The arrays of a shape's text, "(f32[8,4]{1,0}, s32[])" -> two."""
    found = []
    for match in _ARRAY.finditer(shape):
        dims = _integers(match["dims"].replace("<=", ""))
        space = re.search(r"S\((\d+)\)", match["layout"] or "")
        found.append(Array(match["dtype"], dims, int(space[1]) if space else 0))
    return tuple(found)


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
        groups = [_integers(group) for group in re.findall(r"\{([\d,]*)\}", match[1])]
        return groups or [tuple(range(devices))]
    if match := re.search(r"\breplica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        rows = _iota(match[2], match[3]).reshape(_integers(match[1])[0], -1)
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


def _behind_copies(computation: Computation, name: str) -> Instruction:
    instruction = computation.instructions[name]
    while instruction.opcode == "copy":
        instruction = computation.instructions[instruction.operands[0]]
    return instruction


def _constant(instruction: Instruction) -> int | None:
    is_whole = instruction.opcode == "constant" and re.fullmatch(r"-?\d+", instruction.argument)
    return int(instruction.argument) if is_whole else None


def _iota(sizes: str, order: str | None) -> np.ndarray:
    """The numbers from 0 in an array, transposed."""
    dims = _integers(sizes)
    return np.arange(math.prod(dims)).reshape(dims).transpose(_integers(order or "") or None)


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


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(",") if number)


def _functions(text: str) -> dict[int, str]:
    """Read the tables of frames, locations and functions that stand before the computations."""

    def table(name: str) -> dict[int, str]:
        match = re.search(rf"^{name}\n((?:\d+ .*\n)*)", text, re.MULTILINE)
        rows = (row.split(" ", 1) for row in match[1].splitlines()) if match else ()
        return {int(number): row for number, row in rows}

    def field(row: str, name: str) -> int:
        match = re.search(rf"\b{name}=(\d+)", row)
        assert match is not None, row
        return int(match[1])

    names, locations = table("FunctionNames"), table("FileLocations")
    return {
        number: names[field(locations[field(row, "file_location_id")], "function_name_id")].strip('"')
        for number, row in table("StackFrames").items()
    }


def _instruction(name: str, rest: str) -> Instruction:
    rest = re.sub(r"/\*index=\d+\*/", "", rest)
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    shape, call = rest[:end], rest[end:].lstrip()
    opening = call.index("(")
    closing = _closing(call, opening)
    argument = call[opening + 1 : closing]
    operands = () if call[:opening] in ("constant", "parameter") else tuple(_OPERAND.findall(argument))
    return Instruction(name, shape, call[:opening], operands, argument, call[closing + 1 :])


def _closing(text: str, opening: int) -> int:
    """Where the bracket at `opening` closes."""
    depth = 0
    for match in re.compile(r"[()]").finditer(text, opening):
        depth += 1 if match[0] == "(" else -1
        if depth == 0:
            return match.start()
    raise ValueError(f"a bracket of {text[:200]!r} never closes")


def _split(text: str) -> Iterator[str]:
    """Cut at the commas outside all brackets."""
    depth, start = 0, 0
    for at, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            yield text[start:at].strip()
            start = at + 1
    if text[start:].strip():
        yield text[start:].strip()


@functools.cache
def _bits(dtype: str) -> int:
    if dtype in ("token", "opaque"):
        return 0
    if dtype == "pred":
        return 8
    size = re.match(r"(?:bf|[a-z])(\d+)", dtype)  # f8e4m3fn has 8
    if size is None:
        raise ValueError(f"{dtype!r} is no type of HLO")
    return int(size[1])
