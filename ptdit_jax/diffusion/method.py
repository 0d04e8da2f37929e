"""What every sampler is: a table of rows of scalars and an update, see `samplers`.

Shapes: noise, x and predictions are (B, C, F, H, W).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.diffusion.losses import Denoise, Objective

Table = dict[str, np.ndarray]  # each (evaluations,) float64; "t" is the time the network sees
Row = dict[str, Any]  # the scalars of one evaluation, and "index", which counts evaluations


class State(NamedTuple):
    """Between two evaluations: where the sampler is, and what its method remembers (arrays shaped as x)."""

    x: jax.Array
    memory: tuple[jax.Array, ...]


@dataclass(frozen=True)
class Sampler:
    """A method with its table for a number of steps; see `samplers`."""

    objective: Objective
    table: Table
    update: Callable[[Objective, jax.Array, jax.Array, State, Row, jax.Array], State]
    remembers: int  # arrays in the memory

    @property
    def evaluations(self) -> int:
        """How often the network is evaluated (with guidance, each time on a doubled batch)."""
        return len(self.table["t"])

    def rows(self) -> Iterator[Row]:
        """The rows in order, each to be given to `step`."""
        for i in range(self.evaluations):
            yield {"index": i} | {name: column[i] for name, column in self.table.items()}

    def start(self, noise: jax.Array) -> State:
        """The state before the first row."""
        # One array each: a jitted step may be given the state to reuse its buffers.
        return State(noise, tuple(jnp.zeros_like(noise) for _ in range(self.remembers)))

    def step(self, key: jax.Array, denoise: Denoise, state: State, row: Row) -> State:
        """One evaluation of the network and the update that follows; `key` is the same for all rows.

        It is one key, or (B,) keys, one a sample, whose noise then does not depend on the rest of the batch.
        """
        fold_in = jax.random.fold_in if key.ndim == 0 else jax.vmap(jax.random.fold_in, (0, None))
        key = fold_in(key, row["index"])
        row = {name: jnp.asarray(value, state.x.dtype) for name, value in row.items()}
        x = state.x
        output = denoise(x, jnp.broadcast_to(row["t"], x.shape[:1]))
        prediction, variance = self.objective.split(output, x.shape[1])
        return self.update(self.objective, prediction, variance, state, row, key)


def normal(key: jax.Array, x: jax.Array) -> jax.Array:
    """Noise like x, from one key or from one a sample."""
    if key.ndim == 0:
        return jax.random.normal(key, x.shape, x.dtype)
    return jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(key)
