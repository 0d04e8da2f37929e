"""Kernels of one device inside `jax.shard_map`.

`shard_map` follows along which mesh axes a value varies from device to device (`check_vma`), and takes no kernel that
does not say so of its results; those of JAX's own library do not.  A kernel of attention has nothing to say: it reads
and writes what lies on its device, and its result varies as its arguments do.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from ptdit_jax.parallel.axes import as_varying, varying

Kernel = Callable[..., jax.Array]


def run_local(kernel: Kernel, q: jax.Array, k: jax.Array, v: jax.Array, ids: Any = None) -> jax.Array:
    """kernel(q, k, v, ids), and its gradient, on each device by itself; outside `shard_map` nothing else.

    Args:
      kernel: of arrays to an array, differentiable in the first three; makes no collective.
      q: any shape, and so are the next two.
      k: see there.
      v: see there.
      ids: arrays of integers, or None.
    """
    axes = frozenset().union(*(varying(x) for x in jax.tree.leaves((q, k, v, ids))))
    # Where an argument is the same on some devices its gradient is a sum over them: the transpose of this cast.
    arrays, ids = jax.tree.map(lambda x: as_varying(x, axes), ((q, k, v), ids))
    return _run(kernel, _How(axes, _precision(q.dtype)), arrays, ids)


class _How(NamedTuple):
    axes: frozenset[str]
    precision: str


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _run(kernel: Kernel, how: _How, arrays: tuple[jax.Array, ...], ids: Any) -> jax.Array:
    return _unchecked(lambda arrays, ids: kernel(*arrays, ids), how, arrays, ids)


def _forward(kernel: Kernel, how: _How, arrays: tuple[jax.Array, ...], ids: Any) -> Any:
    def pull(arrays: tuple[jax.Array, ...], ids: Any) -> Any:
        return jax.vjp(lambda *arrays: kernel(*arrays, ids), *arrays)

    return _unchecked(pull, how, arrays, ids)


def _backward(kernel: Kernel, how: _How, pullback: Any, gradient: jax.Array) -> Any:
    del kernel
    return _unchecked(lambda pullback, gradient: pullback(gradient), how, pullback, gradient), None


_run.defvjp(_forward, _backward)


def _unchecked(function: Callable, how: _How, *arguments: Any) -> Any:
    """A call that `shard_map` does not look into, whose results vary along all axes of `how`."""

    def body(*arguments: Any) -> Any:
        with jax.default_matmul_precision(
            how.precision
        ):  # a backward pass is traced later, and not in its context
            return function(*arguments)

    if not how.axes:
        return body(*arguments)

    def unmarked(*arguments: Any) -> Any:
        # Only the results of operations done in here are without marks of what they vary along.
        return body(*jax.tree.map(lambda x: jnp.where(True, x, x), arguments))

    spec = PartitionSpec()
    results = jax.shard_map(unmarked, in_specs=spec, out_specs=spec, check_vma=False)(*arguments)
    return jax.tree.map(lambda x: as_varying(x, how.axes), results)


def _precision(dtype: Any) -> str:
    """Of products inside a kernel: a TPU has those of one pass and, of float32, exact ones; nothing between."""
    asked = getattr(jax.config, "jax_default_matmul_precision")  # noqa: B009  # its type is not declared
    exact = jnp.dtype(dtype) == jnp.float32 and asked in ("tensorfloat32", "float32", "high", "highest")
    return "float32" if exact else "default"
