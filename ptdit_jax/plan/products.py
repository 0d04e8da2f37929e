"""Arithmetic of the matrix products and convolutions of a compiled program."""

import functools
import math
import re

import numpy as np

from ptdit_jax.plan.hlo import Computation, Instruction


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
