"""Kernels (Pallas) of a compiled program: their arithmetic, and how often they read what they are given.

XLA does not look into a kernel.  One may say what it computes (`pl.CostEstimate`, which the program keeps); ours in
`ptdit_jax.models.attention`, `windows` and `tokens`, do, and read each operand once.  Splash attention of JAX's library
says nothing but its blocks, and follows from these and from its grid.

Shapes: B batch, H heads, Q padded queries, K padded keys, d head width.
"""

import dataclasses
import math
import re

from ptdit_jax.plan.hlo import Array, Computation, Instruction


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What one run of a kernel does.

    Attributes:
      flops: 2 a multiply-accumulate; None where neither the kernel nor we know.
      reads: how often it reads each operand, in their order.
    """

    flops: float | None
    reads: tuple[int, ...]


def is_kernel(instruction: Instruction) -> bool:
    """Whether an instruction is a Pallas kernel for a TPU."""
    return (
        instruction.opcode == "custom-call"
        and 'custom_call_target="tpu_custom_call"' in instruction.attributes
    )


def kernel(computation: Computation, instruction: Instruction) -> Kernel:
    """What a kernel does; of one that is unknown, each operand is read once."""
    operands = [computation.instructions[name].arrays[0] for name in instruction.operands]
    blocks = {name: int(size) for name, size in _BLOCK.findall(instruction.attributes)}
    for phase, name in _PHASES.items():
        if f"block_q{name}" in blocks and f"block_kv{name}" in blocks:
            return _splash(phase, operands, instruction, blocks[f"block_q{name}"], blocks[f"block_kv{name}"])
    flops = re.search(r'"cost_estimate":\s*\{[^}]*"flops":\s*"?(\d+)', instruction.attributes)
    return Kernel(float(flops[1]) if flops else None, (1,) * len(operands))


# In the metadata of splash attention, a JSON text inside a string: \"block_q\": 512.
_BLOCK = re.compile(r'\b(block_(?:q|kv)(?:_dq|_dkv)?)\\*": (\d+)')
# Its forward pass names the blocks of the backward pass too.
_PHASES = {"forward": "", "dq": "_dq", "dkv": "_dkv"}


def _splash(
    phase: str, operands: list[Array], instruction: Instruction, block_q: int, block_kv: int
) -> Kernel:
    """Splash attention without blocks that its mask leaves out, over (B, H, Q or K, d).

    A block of an operand is read again whenever the next step of the grid needs another in between.  The grid of the
    forward pass and of the queries' gradient is (B, H, blocks of queries, blocks of keys); that of the keys' and
    values' gradients (B, blocks of keys, H, blocks of queries).
    """
    first = next(i for i, array in enumerate(operands) if array.dtype not in _INTEGERS)
    q, k = operands[first : first + 2]
    heads = q.dims[-3]
    of_q, of_k = q.dims[-2] // block_q, k.dims[-2] // block_kv
    ids = [i for i, array in enumerate(operands) if i > first and array.dtype in _INTEGERS]
    reads = [1] * len(operands)
    if phase == "dkv":
        # Two products of scores, and those of two gradients; a fused kernel also has that of the queries.
        products = 5 if len(instruction.arrays) > _ARRAYS_OF_DKV else 4
        by_queries = of_k if of_q * heads > 1 else 1
        # q and, after the keys, values and ids, logarithms, output gradients and their products with outputs.
        for i in (first, *range(first + 3 + len(ids), len(operands))):
            reads[i] = by_queries
        if ids:
            reads[ids[0]] = of_k * heads if of_q > 1 else 1
    else:
        products = 2 if phase == "forward" else 3
        reads[first + 1] = reads[first + 2] = of_q if of_k > 1 else 1
        if ids:
            reads[ids[0]] = heads if of_q > 1 else 1
            reads[ids[1]] = heads * of_q if of_k > 1 else 1
    pairs = math.prod(q.dims[:-1]) * k.dims[-2]  # B·H·Q·K
    return Kernel(2.0 * products * pairs * q.dims[-1], tuple(reads))


_INTEGERS = ("s8", "s32")  # of its mask and of tokens' ids
_ARRAYS_OF_DKV = 4  # two sums in on-chip memory, which it writes once, and the gradients of keys and values
