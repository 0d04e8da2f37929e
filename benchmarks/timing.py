"""Times of single calls, and the matrix products that a machine reaches: the yardstick of shares measured beside it."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

LEAST = 3  # calls whose median is taken, however long one is


def median_seconds(call: Callable[[], Any], seconds: float) -> tuple[float, int]:
    """Median time of a call, and how many there were.

    Args:
      call: returns arrays, which are waited for; it must have been called before, as nothing here warms it up.
      seconds: of calls in all at least, and never fewer than `LEAST` calls.
    """
    times: list[float] = []
    while len(times) < LEAST or sum(times) < seconds:
        before = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - before)
    return statistics.median(times), len(times)


def matrix_peak(dtype: str, sides: Sequence[int], seconds: float) -> dict[int, float]:
    """FLOP/s of square matrix products of random numbers on JAX's first device, by their side.

    Args:
      dtype: of both operands and of the result; a multiply-accumulate is two FLOPs.
      sides: rows of the matrices, which are square.
      seconds: of calls of each side.
    """
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision="default"))
    found = {}
    for side in sides:
        a, b = (jax.random.normal(key, (side, side), dtype) for key in jax.random.split(jax.random.key(0)))
        jax.block_until_ready(product(a, b))
        median, _ = median_seconds(lambda a=a, b=b: product(a, b), seconds)
        found[side] = 2 * side**3 / median
    return found
