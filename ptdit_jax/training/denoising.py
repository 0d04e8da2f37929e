"""The project's `draw` and `loss`: a network denoises at random times, its condition sometimes dropped.

Shapes: B samples, C channels, F frames, H height, W width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.diffusion import Objective
from ptdit_jax.models.window import Triple
from ptdit_jax.training.step import Draw, Loss

Network = Callable[[Any, jax.Array, jax.Array, jax.Array | None, jax.Array], jax.Array]
"""(params, x (B, C, F, H, W), t (B,), label (B,) or None, key) -> (B, C_out, F, H, W)."""


class Inputs(NamedTuple):
    """What the loss of each sample is a function of, besides the parameters."""

    x0: jax.Array  # (B, C, F, H, W) data
    eps: jax.Array  # (B, C, F, H, W) noise
    t: jax.Array  # (B,) times
    label: jax.Array | None  # (B,) int32; `classes` where the condition was dropped
    keys: jax.Array  # (B,) random keys, of which a micro-batch hands its first to the network


def make_draw(objective: Objective, *, classes: int | None, condition_dropout: float) -> Draw:
    """(key, batch) -> Inputs, for `step.make_step`.

    Args:
      objective: draws the times.
      classes: number of classes, whose value is the null label; None for an unconditional network.
      condition_dropout: probability of the null label.
    """

    def draw(key: jax.Array, batch: Any) -> Inputs:
        x0 = batch["x"]
        time_key, noise_key, drop_key, model_key = jax.random.split(key, 4)
        label = None
        if classes is not None:
            drop = jax.random.bernoulli(drop_key, condition_dropout, x0.shape[:1])
            label = jnp.where(drop, classes, batch["label"])
        t = objective.draw_times(time_key, len(x0), x0.dtype)
        eps = jax.random.normal(noise_key, x0.shape, x0.dtype)
        return Inputs(x0, eps, t, label, jax.random.split(model_key, len(x0)))

    return draw


def make_network(graphdef: nnx.GraphDef, *, window: Triple, proxy_ratio: tuple[int, ...] = ()) -> Network:
    """The network as a pure function, at one window.

    Args:
      graphdef: of the network; its parameters come as the nested dict of `nnx.to_pure_dict`.
      window: (p_f, p_h, p_w) tokens.
      proxy_ratio: as the network's call takes it; () = one proxy a window.
    """

    def network(
        params: Any, x: jax.Array, t: jax.Array, label: jax.Array | None, key: jax.Array
    ) -> jax.Array:
        return nnx.merge(graphdef, params)(
            x, t, label, window=window, proxy_ratio=proxy_ratio or None, key=key
        )

    return network


def make_loss(network: Network, objective: Objective) -> Loss:
    """(params, Inputs) -> (mean loss, metrics), for `step.make_step`."""

    def loss(params: Any, inputs: Inputs) -> tuple[jax.Array, dict[str, jax.Array]]:
        def denoise(x_t: jax.Array, t: jax.Array) -> jax.Array:
            return network(params, x_t, t, inputs.label, inputs.keys[0])

        per_sample, metrics = objective.loss_at(denoise, inputs.x0, inputs.eps, inputs.t)
        return per_sample.mean(), metrics

    return loss
