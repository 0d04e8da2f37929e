"""How often the loops of a compiled program run."""

import re

from ptdit_jax.plan.hlo import Computation, Instruction, Module


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
    counter, limit = (condition.behind(name, "copy") for name in compare.operands)
    first, last = computation.instructions[loop.operands[0]], body.instructions[body.root]
    if counter.opcode != "get-tuple-element" or first.opcode != "tuple" or last.opcode != "tuple":
        return None
    index = counter.tuple_index
    step = body.behind(last.operands[index], "copy")
    if step.opcode != "add":
        return None
    summands = [body.behind(name, "copy") for name in step.operands]
    counters = [s for s in summands if s.opcode == "get-tuple-element" and s.tuple_index == index]
    numbers = [_constant(s) for s in summands if s not in counters]
    start, stop = _constant(computation.behind(first.operands[index], "copy")), _constant(limit)
    if len(counters) != 1 or start is None or stop is None or not numbers[0]:
        return None
    return max(0, -(-(stop - start) // numbers[0]))


def _constant(instruction: Instruction) -> int | None:
    is_whole = instruction.opcode == "constant" and re.fullmatch(r"-?\d+", instruction.argument)
    return int(instruction.argument) if is_whole else None
