"""The text of a compiled program (scheduled HLO), read back into instructions.

`jax.stages.Compiled.as_text()` gives the program of one device after partitioning, so every shape in it is what
one device holds.  The grammar read here is that of XLA's printer (openxla.org/xla/operation_semantics); what the
instructions cost is in `hlo_cost`, and what they say beyond themselves in `loops` and `collectives`.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator

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
        return integers(match[1]) if match else ()

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

    def behind(self, name: str, opcode: str) -> Instruction:
        """The instruction `name`, or the one that instructions of an opcode of one operand pass on to it."""
        instruction = self.instructions[name]
        while instruction.opcode == opcode:
            instruction = self.instructions[instruction.operands[0]]
        return instruction

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
    for line in _whole_lines(text):
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


def _whole_lines(text: str) -> Iterator[str]:
    """Lines, where an attribute on several of them, as the metadata of a kernel may be, is one line with its own."""
    held = ""
    for line in text.splitlines():
        held += line
        if line.endswith("={") or (held != line and not line.lstrip().startswith("}")):
            continue
        yield held
        held = ""


def arrays(shape: str) -> tuple[Array, ...]:
    """The arrays of a shape's text, "(f32[8,4]{1,0}, s32[])" -> two."""
    found = []
    for match in _ARRAY.finditer(shape):
        dims = integers(match["dims"].replace("<=", ""))
        space = re.search(r"S\((\d+)\)", match["layout"] or "")
        found.append(Array(match["dtype"], dims, int(space[1]) if space else 0))
    return tuple(found)


def integers(text: str) -> tuple[int, ...]:
    """The numbers of "1,2"."""
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
