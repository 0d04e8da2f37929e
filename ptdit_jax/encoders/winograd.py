"""3x3 convolutions of 16 products for four outputs instead of 36 (arXiv 1509.09308, F(2x2, 3x3)), for CPUs.

XLA has for CPUs the plain convolution alone.  Here tiles of 4x4 inputs and the kernels are transformed by additions, 16
matrix products over the channels are made, and each tile's 2x2 outputs put together.  The transforms move much memory
and pay where there are many channels and more positions than kernels to transform.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

CHANNELS = 256  # of both sides, at least
POSITIONS = 8192  # of all pictures together, at least

INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))


def pays(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether a 3x3 convolution of x (N, H, W, C) with kernel (3, 3, C, D) is made here on a CPU."""
    count, rows, columns, _ = x.shape
    return (
        x.dtype == jnp.float32
        and rows % 2 == columns % 2 == 0
        and min(kernel.shape[2:]) >= CHANNELS
        and count * rows * columns >= POSITIONS
    )


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x (N, H, W, C) with H and W even, kernel (3, 3, C, D) -> (N, H, W, D), with zeros around x."""
    count, rows, columns, width = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    tiles = [  # the element (i, j) of every tile: (N, H/2, W/2, C)
        [padded[:, i : i + rows : 2, j : j + columns : 2] for j in range(4)] for i in range(4)
    ]
    tiles = _transformed(INPUT, tiles)
    g = jnp.asarray(KERNEL, kernel.dtype)
    kernels = jnp.einsum("ai,ijcd,bj->abcd", g, kernel, g, precision=jax.lax.Precision.HIGHEST)
    products = [
        [jnp.matmul(tiles[i][j].reshape(-1, width), kernels[i, j], precision="highest") for j in range(4)]
        for i in range(4)
    ]
    pairs = [jnp.stack(row, 1) for row in _transformed(OUTPUT, products)]  # (N·H/2·W/2, 2, D) each
    y = jnp.stack(pairs, 1).reshape(count, rows // 2, columns // 2, 2, 2, -1)
    return y.swapaxes(2, 3).reshape(count, rows, columns, -1)


def _transformed(
    matrix: Sequence[Sequence[float]], grid: Sequence[Sequence[jax.Array]]
) -> list[list[jax.Array]]:
    """matrix · grid · matrixᵀ of small matrices of arrays."""
    columns = [[_sum(line, column) for column in zip(*grid)] for line in matrix]
    return [[_sum(line, row) for line in matrix] for row in columns]


def _sum(factors: Sequence[float], arrays: Sequence[jax.Array]) -> jax.Array:
    terms = [array if factor == 1 else -array for factor, array in zip(factors, arrays) if factor]
    return sum(terms[1:], terms[0])
