"""How a frozen encoder is compiled for a CPU, where XLA's defaults leave part of the speed of products unused."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

PLAIN_PRODUCTS = {"xla_cpu_experimental_ynn_fusion_type": ""}
"""Products of float32 by XLA's own call of Eigen: a tenth to a fifth faster than YNNPACK's, which jax 0.10 prefers."""


def options(dtype: Any) -> dict[str, str] | None:
    """What `jax.jit` takes as `compiler_options`, for programs whose products are of `dtype`.

    None on anything but a CPU, for other products than those of float32, and where this version of XLA knows no such
    option; results agree to rounding with and without.
    """
    if jax.default_backend() != "cpu" or jnp.dtype(dtype) != jnp.float32:
        return None
    return PLAIN_PRODUCTS if _known() else None


@functools.cache
def _known() -> bool:
    try:
        jax.jit(lambda x: x, compiler_options=PLAIN_PRODUCTS).lower(jnp.zeros(())).compile()
    except jax.errors.JaxRuntimeError:  # no such option
        return False
    return True


def stored(x: jax.Array) -> jax.Array:
    """`x`; on a CPU an array of its own, where XLA would otherwise join a transposition to the next one."""
    return jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)
