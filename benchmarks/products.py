"""The matrix products of a function, each timed by itself: what it would reach if all else took no time.

An array is as XLA lays it out when it is an argument, and a product has nothing before or after it.  So the sum is what
XLA's products of these shapes take on this machine, and no bound of what a machine can do.
"""

import collections
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from benchmarks.timing import median_seconds


class Product(NamedTuple):
    """A `jax.lax.dot_general`: shapes and dtypes of its operands, and its parameters, named as there."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    dtypes: tuple[str, str]
    dimension_numbers: Any
    precision: Any
    preferred: str | None

    @property
    def flops(self) -> int:
        """Two a multiply-accumulate."""
        (_, contracted), (_, batch) = self.dimension_numbers
        free = [size for i, size in enumerate(self.right) if i not in (*contracted, *batch)]
        return 2 * math.prod(self.left) * math.prod(free)

    def seconds(self, least: float) -> float:
        """Median time on random numbers, of calls of `least` seconds in all."""
        left_key, right_key = jax.random.split(jax.random.key(0))
        left = jax.random.normal(left_key, self.left, self.dtypes[0])
        right = jax.random.normal(right_key, self.right, self.dtypes[1])
        run = jax.jit(
            functools.partial(
                jax.lax.dot_general,
                dimension_numbers=self.dimension_numbers,
                precision=self.precision,
                preferred_element_type=self.preferred,
            )
        )
        jax.block_until_ready(run(left, right))
        return median_seconds(lambda: run(left, right), least)[0]


def products_of(function: Callable[..., Any], *arguments: Any) -> collections.Counter[Product]:
    """How often each product is computed in a call; a loop's as often as it runs.

    Args:
      function: traced and not run.
      arguments: arrays or their shapes.

    Raises:
      ValueError: what runs is not known from the trace, as the length of a `while` and the branch of a `cond` are not.
    """
    found: collections.Counter[Product] = collections.Counter()
    for equation, times in _equations(jax.make_jaxpr(function)(*arguments).jaxpr, 1):
        if equation.primitive.name == "dot_general":
            left, right = (var.aval for var in equation.invars)
            how = equation.params
            preferred = how["preferred_element_type"]
            product = Product(
                left.shape,
                right.shape,
                (str(left.dtype), str(right.dtype)),
                how["dimension_numbers"],
                how["precision"],
                None if preferred is None else str(preferred),
            )
            found[product] += times
    return found


def _equations(jaxpr: Any, times: int) -> Iterator[tuple[Any, int]]:
    for equation in jaxpr.eqns:
        yield equation, times
        name = equation.primitive.name
        if name in ("while", "cond"):
            raise ValueError(
                f"a {name!r} is in the function: how often its products run is not known from its trace"
            )
        inner = times * (equation.params["length"] if name == "scan" else 1)
        for value in equation.params.values():
            if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                yield from _equations(getattr(value, "jaxpr", value), inner)


def seconds_alone(products: collections.Counter[Product], least: float) -> float:
    """Seconds of a call's products, each by itself, the times of one from calls of `least` seconds in all."""
    return sum(product.seconds(least) * times for product, times in products.items())
