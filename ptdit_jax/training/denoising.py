"""The project's `draw` and `loss`: a network denoises at random times, its condition sometimes dropped.

Shapes: B samples, C channels, F frames, H height, W width, L text tokens, E text features.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from ptdit_jax.diffusion import Objective
from ptdit_jax.models.ptdit import Condition, Kept
from ptdit_jax.models.window import Triple
from ptdit_jax.training.step import Draw, Loss

Network = Callable[[Any, jax.Array, jax.Array, Condition, jax.Array], jax.Array]
"""(params, x (B, C, F, H, W), t (B,), condition, keys (B,)) -> (B, C_out, F, H, W)."""
KeepingNetwork = Callable[[Any, jax.Array, jax.Array, Condition, jax.Array, Kept], tuple[jax.Array, Kept]]
"""A `Network` that also takes what an earlier call kept, or None, and returns what is kept; see `PTDiT.with_kept`."""


class Inputs(NamedTuple):
    """What the loss of each sample is a function of, besides the parameters."""

    x0: jax.Array  # (B, C, F, H, W) data
    eps: jax.Array  # (B, C, F, H, W) noise
    t: jax.Array  # (B,) times
    condition: (
        Condition  # labels (B,) int32, or (text (B, L, E), mask (B, L)); the null one where it was dropped
    )
    keys: jax.Array  # (B,) random keys, one a sample, for networks that draw


def condition_of(batch: dict[str, Any]) -> Condition:
    """What a batch of a loader has as condition: its labels, its text states with their mask, or nothing."""
    return (batch["text"], batch["text_mask"]) if "text" in batch else batch.get("label")


def null_condition(condition: Any, null: Any) -> Condition:
    """The null condition in the shape of a batch's: labels (B,), or text (B, L, E) and mask (B, L).

    Args:
      condition: of the batch.
      null: of one sample, see `make_draw`; a text without a mask (None) has that of the caption that it replaces.
    """
    if isinstance(null, tuple) and null[1] is None:
        text, mask = condition
        return jnp.broadcast_to(null[0], text.shape), mask
    return jax.tree.map(lambda given, null: jnp.broadcast_to(null, given.shape), condition, null)


def make_draw(objective: Objective, *, null: Any, condition_dropout: float) -> Draw:
    """(key, batch) -> Inputs, for `step.make_step`.

    Args:
      objective: draws the times.
      null: the null condition of one sample, a label () or a text (L, E) with its mask (L,), which may be None (see
        `null_condition`); None without one.
      condition_dropout: probability of the null condition.
    """

    def draw(key: jax.Array, batch: Any) -> Inputs:
        x0 = batch["x"]
        time_key, noise_key, drop_key, model_key = jax.random.split(key, 4)
        condition = None
        if null is not None:
            drop = jax.random.bernoulli(drop_key, condition_dropout, x0.shape[:1])
            given = condition_of(batch)
            condition = jax.tree.map(
                lambda given, null: jnp.where(drop.reshape(-1, *[1] * (given.ndim - 1)), null, given),
                given,
                null_condition(given, null),
            )
        t = objective.draw_times(time_key, len(x0), x0.dtype)
        eps = jax.random.normal(noise_key, x0.shape, x0.dtype)
        return Inputs(x0, eps, t, condition, jax.random.split(model_key, len(x0)))

    return draw


def make_network(graphdef: nnx.GraphDef, *, window: Triple, proxy_ratio: tuple[int, ...] = ()) -> Network:
    """The network as a pure function, at one window.

    Args:
      graphdef: of the network; its parameters come as the nested dict of `nnx.to_pure_dict`.
      window: (p_f, p_h, p_w) tokens.
      proxy_ratio: as the network's call takes it; () = one proxy a window.
    """

    def network(params: Any, x: jax.Array, t: jax.Array, condition: Condition, keys: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, params)(
            x, t, condition, window=window, proxy_ratio=proxy_ratio or None, keys=keys
        )

    return network


def make_keeping_network(
    graphdef: nnx.GraphDef, keep: str, *, window: Triple, proxy_ratio: tuple[int, ...] = ()
) -> KeepingNetwork:
    """`make_network` that keeps and reuses.

    Args:
      graphdef: as of `make_network`.
      keep: what, one of `models.ptdit.KEEPS`.
      window: as of `make_network`.
      proxy_ratio: as of `make_network`.
    """

    def network(
        params: Any, x: jax.Array, t: jax.Array, condition: Condition, keys: jax.Array, kept: Kept
    ) -> tuple[jax.Array, Kept]:
        how: dict[str, Any] = {"window": window, "proxy_ratio": proxy_ratio or None, "keys": keys}
        return nnx.merge(graphdef, params).with_kept(x, t, condition, kept, keep=keep, **how)

    return network


def make_loss(network: Network, objective: Objective, told: Mapping[str, float] | None = None) -> Loss:
    """(params, Inputs) -> (mean loss, metrics), for `step.make_step`; metrics with what is `told` of every step."""

    def loss(params: Any, inputs: Inputs) -> tuple[jax.Array, dict[str, jax.Array]]:
        def denoise(x_t: jax.Array, t: jax.Array) -> jax.Array:
            return network(params, x_t, t, inputs.condition, inputs.keys)

        per_sample, metrics = objective.loss_at(denoise, inputs.x0, inputs.eps, inputs.t)
        return per_sample.mean(), metrics | {name: jnp.float32(value) for name, value in (told or {}).items()}

    return loss
