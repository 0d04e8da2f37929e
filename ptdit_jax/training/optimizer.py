"""AdamW in two parts: the direction of a step (optax) and its length, the learning rate at a step."""

from collections.abc import Callable
from typing import Any

import jax
import optax

Schedule = Callable[[jax.Array], jax.Array]

# Decay from the peak to 0, over the steps that follow the warm-up.
SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda peak, steps: optax.constant_schedule(peak),
    "cosine": lambda peak, steps: optax.cosine_decay_schedule(peak, steps),
    "linear": lambda peak, steps: optax.linear_schedule(peak, 0.0, steps),
}


def make_schedule(optimizer: Any, steps: int) -> optax.Schedule:
    """The learning rate of step 0, 1, ...: linear warm-up from 0 to the peak, then `optimizer.schedule`.

    The first step of a warm-up of w steps has peak / w, so that no step is wasted on a rate of 0.

    Args:
      optimizer: the `optimizer` section of a config.
      steps: `train.steps`, where a decaying schedule reaches 0.
    """
    peak, warmup = optimizer.learning_rate, optimizer.warmup_steps
    after = SCHEDULES[optimizer.schedule](peak, max(steps - warmup, 1))
    if warmup == 0:
        return after
    return optax.join_schedules([lambda step: peak * (step + 1) / warmup, after], [warmup])


def make_direction(optimizer: Any) -> optax.GradientTransformation:
    """Clipping, Adam and decoupled weight decay (AdamW, arXiv 1711.05101), without the learning rate.

    A step is parameters - rate · direction.  Weight decay acts on matrices ("kernel") alone, not on biases or
    tables of embeddings and modulation.

    Args:
      optimizer: the `optimizer` section of a config.
    """
    parts = []
    if optimizer.clip_norm:
        parts.append(optax.clip_by_global_norm(optimizer.clip_norm))
    parts.append(optax.scale_by_adam(optimizer.b1, optimizer.b2, optimizer.eps))
    if optimizer.weight_decay:
        parts.append(optax.add_decayed_weights(optimizer.weight_decay, mask=matrices))
    return optax.chain(*parts)


def matrices(params: Any) -> Any:
    """A tree of bools: which parameters are matrices, by name (stacked layers hide it from the rank)."""
    return jax.tree.map_with_path(lambda path, _: getattr(path[-1], "key", None) == "kernel", params)
