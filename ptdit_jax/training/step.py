"""One training step as a pure function of (state, batch, key), for any network and any loss.

Shapes: B samples a step (over all devices), A micro-batches of B/A samples; () scalars.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ptdit_jax.training.optimizer import Schedule
from ptdit_jax.training.state import Guard, TrainState, Tree, ema_name, update_ema

Metrics = dict[str, jax.Array]
Draw = Callable[[jax.Array, Any], Any]
"""(key, batch) -> inputs: all randomness of a step, for the whole batch; leaves have B as first axis."""
Loss = Callable[[Tree, Any], tuple[jax.Array, Metrics]]
"""(params, inputs) -> (mean loss over the samples (), scalars to log that are means over the samples)."""

GUARD_DECAY = 0.99  # the running mean of the loss remembers about 100 steps


def make_step(
    draw: Draw,
    loss: Loss,
    direction: optax.GradientTransformation,
    schedule: Schedule,
    *,
    ema_decays: tuple[float, ...],
    accumulate: int = 1,
    explode_factor: float = 0.0,
    constrain: Callable[[Any], Any] = lambda inputs: inputs,
) -> Callable[[TrainState, Any, jax.Array], tuple[TrainState, Metrics]]:
    """The step function, to be jitted with its first argument donated.

    Args:
      draw: see `Draw`.
      loss: see `Loss`.
      direction: from `optimizer.make_direction`.
      schedule: learning rate of a step.
      ema_decays: those the state was created with.
      accumulate: A; the gradient of A micro-batches is that of the whole batch.
      explode_factor: a loss above this times the running mean is bad; 0 = only what is not finite is.
      constrain: applied to the inputs cut into micro-batches (A, B/A, ...), to say where they lie on a mesh.

    Returns:
      (state, batch, key) -> (state, metrics).  `key` is the run's; the step folds its own number in, so that
      all randomness is a function of (key, step).  Metrics are float32 scalars: loss, grad_norm (before
      clipping), param_norm (before the step), learning_rate, skipped (1 when the step was bad, and then only
      `state.step` changes), and those of `loss`.
    """

    def gradient(params: Tree, inputs: Any) -> tuple[tuple[jax.Array, Metrics], Tree]:
        value_and_grad = jax.value_and_grad(loss, has_aux=True)
        if accumulate == 1:
            return value_and_grad(params, inputs)
        micro_batches = constrain(jax.tree.map(lambda leaf: _cut(leaf, accumulate), inputs))
        shapes = jax.eval_shape(value_and_grad, params, jax.tree.map(lambda leaf: leaf[0], micro_batches))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def add(total: Tree, inputs: Any) -> tuple[Tree, None]:
            return jax.tree.map(jnp.add, total, value_and_grad(params, inputs)), None

        total, _ = jax.lax.scan(add, zeros, micro_batches)
        return jax.tree.map(lambda leaf: leaf / accumulate, total)

    def step(state: TrainState, batch: Any, key: jax.Array) -> tuple[TrainState, Metrics]:
        inputs = draw(jax.random.fold_in(key, state.step), batch)
        (value, extra), gradients = gradient(state.params, inputs)
        rate = jnp.asarray(schedule(state.step), jnp.float32)
        grad_norm = optax.tree.norm(gradients)
        bad = ~(jnp.isfinite(value) & jnp.isfinite(grad_norm))
        if explode_factor:
            mean = state.guard.weighted / jnp.maximum(state.guard.weight, 1e-12)
            bad |= (state.guard.weight > 0) & (value > explode_factor * mean)

        updates, opt_state = direction.update(gradients, state.opt_state, state.params)
        params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
        emas = {ema_name(d): update_ema(state.emas[ema_name(d)], params, d) for d in ema_decays}
        guard = Guard(
            GUARD_DECAY * state.guard.weighted + (1 - GUARD_DECAY) * value,
            GUARD_DECAY * state.guard.weight + (1 - GUARD_DECAY),
        )
        new = TrainState(state.step + 1, params, opt_state, emas, guard)
        kept = TrainState(state.step + 1, state.params, state.opt_state, state.emas, state.guard)
        new = jax.tree.map(lambda old, new: jnp.where(bad, old, new), kept, new)
        metrics = {
            "loss": value,
            "grad_norm": grad_norm,
            "param_norm": optax.tree.norm(state.params),
            "learning_rate": rate,
            "skipped": bad,
            **extra,
        }
        return new, {name: jnp.asarray(metric, jnp.float32) for name, metric in metrics.items()}

    return step


def _cut(leaf: jax.Array, accumulate: int) -> jax.Array:
    """(B, ...) -> (A, B/A, ...): micro-batch a has samples a, a + A, ..., so each device keeps its own."""
    return leaf.reshape(leaf.shape[0] // accumulate, accumulate, *leaf.shape[1:]).swapaxes(0, 1)
