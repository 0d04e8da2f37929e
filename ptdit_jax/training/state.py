"""Everything that a step changes, as one pytree."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

Tree = Any  # a pytree of arrays


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Guard:
    """Memory of the explosion guard: a running mean of the loss of the steps that were applied.

    Attributes:
      weighted: () float32, Σ 0.99^age · loss · 0.01.
      weight: () float32, Σ 0.99^age · 0.01; the mean is weighted / weight, and there is none at weight 0.
    """

    weighted: jax.Array
    weight: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The state between two steps.

    Attributes:
      step: () int32, steps done, those whose update was skipped included.
      params: nested dict of float32 arrays.
      opt_state: what `optimizer.make_direction` keeps.
      emas: one average of the parameters for each decay, by its name (`ema_name`).
      guard: see `Guard`.
    """

    step: jax.Array
    params: Tree
    opt_state: optax.OptState
    emas: dict[str, Tree]
    guard: Guard


def ema_name(decay: float) -> str:
    """The name of an average in the state and in a checkpoint: 0.999 -> "ema_0.999", and "params" for 0."""
    return f"ema_{decay}" if decay else "params"


def create(
    params: Tree, direction: optax.GradientTransformation, ema_decays: tuple[float, ...]
) -> TrainState:
    """The state before the first step; the averages start as copies of the parameters."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=direction.init(params),
        emas={ema_name(decay): jax.tree.map(jnp.copy, params) for decay in ema_decays},
        guard=Guard(jnp.zeros(()), jnp.zeros(())),
    )


def update_ema(ema: Tree, params: Tree, decay: float) -> Tree:
    """One step of an average, ema + (1 - decay)·(params - ema): rounds less than a sum of two products."""
    return jax.tree.map(lambda e, p: e + (1.0 - decay) * (p - e), ema, params)


def averaged(state: TrainState, decay: float) -> Tree:
    """The average of a decay; the parameters themselves where there is none, as of 0."""
    return state.emas.get(ema_name(decay), state.params)
