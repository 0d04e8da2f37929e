"""Classifier-free guidance (arXiv 2207.12598)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ptdit_jax.diffusion.losses import Denoise
from ptdit_jax.diffusion.paths import expand


def classifier_free(
    denoise: Callable[[jax.Array, jax.Array, Any], jax.Array],
    condition: Any,
    null_condition: Any,
    scale: float | jax.Array,
    interval: tuple[float, float] = (0.0, 1.0),
    channels: int = 0,
) -> Denoise:
    """A network with a condition as a guided function of (x_t, t): p_null + scale (p_condition - p_null).

    Every channel of the prediction is guided, unless `channels` says how many.  Channels of a learned variance are not
    a direction to follow: they stay those of the condition.  One evaluation is one call of the network with a doubled
    batch; with scale 1 it is one plain call.

    Args:
        denoise: (x_t, t, condition) -> (B, C or 2C, F, H, W).
        condition: a pytree of arrays whose first axis is the batch.
        null_condition: the same for no condition (the null class, the empty text).
        scale: 1 = no guidance; an array (), which may be traced, is guided by whatever it is.
        interval: (low, high), both included; outside of it the scale is 1 (arXiv 2404.07724).
        channels: only the first so many are guided, and the rest stay those of the condition; 0: all of them.  The
            code of DiT and SiT guides 3 of their 4, and so made their published samples.

    Raises:
        ValueError: when the interval leaves [0, 1] or is reversed, there is no condition to guide by, or the data
            have fewer channels.
    """
    low, high = interval
    if not 0 <= low <= high <= 1:
        raise ValueError(f"guidance_interval is {interval}; it must be 0 <= low <= high <= 1")
    if not isinstance(scale, jax.Array) and scale == 1:
        return lambda x_t, t: denoise(x_t, t, condition)
    if condition is None or null_condition is None:
        raise ValueError(f"guidance is {scale}; without a condition and a null condition it must be 1")

    both = jax.tree.map(lambda *pair: jnp.concatenate(pair), condition, null_condition)

    def guided(x_t: jax.Array, t: jax.Array) -> jax.Array:
        output = denoise(jnp.concatenate([x_t, x_t]), jnp.concatenate([t, t]), both)
        conditional, null = jnp.split(output, 2)
        if not 0 <= channels <= x_t.shape[1]:
            raise ValueError(
                f"guidance_channels is {channels}; it must be 0 (all) to {x_t.shape[1]}, those of the data"
            )
        count = channels or x_t.shape[1]
        direction = (conditional - null)[:, :count]
        extra = jnp.where((low <= t) & (t <= high), scale - 1, 0).astype(output.dtype)
        return conditional.at[:, :count].add(expand(extra, direction) * direction)

    return guided
