"""Training times that lie in some spans of [0, 1] alone: how likely they are, and how to draw them.

A span (low, high) holds low <= t < high, and t = 1 too where it ends there.  Drawing spans by their `mass` and then
times by `draw` gives times that are distributed as those of all of [0, 1].

Shapes: B times, K spans.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from scipy import special

from ptdit_jax.diffusion.grids import shift
from ptdit_jax.diffusion.paths import STEPS

Span = tuple[float, float]


def mass(times: str, spans: Sequence[Span], ratio: float = 1.0) -> float:
    """The probability that a training time lies in one of the spans.

    Args:
      times: "uniform", "logit_normal" or, on the VP path, "steps".
      spans: without overlap.
      ratio: r of the resolution shift.
    """
    if times == "steps":
        return len(steps_in(spans)) / STEPS
    low, high, _ = _tails(times, spans, ratio)
    return float(np.sum(high - low))


def draw(
    key: jax.Array, batch: int, dtype: jnp.dtype, times: str, spans: Sequence[Span], ratio: float = 1.0
) -> jax.Array:
    """Times (B,), distributed as training times are, given that they lie in one of the spans.

    Args:
      key: of the draw.
      batch: B.
      dtype: of the times.
      times: see `mass`, here and below.
      spans: of a positive mass.
      ratio: r of the resolution shift.
    """
    span_key, time_key = jax.random.split(key)
    if times == "steps":
        steps = steps_in(spans)
        return jnp.asarray(steps)[jax.random.randint(time_key, (batch,), 0, len(steps))].astype(dtype) / STEPS
    low, high, mirrored = _tails(times, spans, ratio)
    share = np.cumsum(high - low) / np.sum(high - low)
    span = jnp.searchsorted(
        jnp.asarray(share[:-1], dtype), jax.random.uniform(span_key, (batch,), dtype), "right"
    )

    def of_span(values: np.ndarray) -> jax.Array:
        return jnp.asarray(values, dtype)[span]

    # By the nearer tail of the distribution: its probabilities are small numbers, which floats tell apart.
    p = of_span(low) + jax.random.uniform(time_key, (batch,), dtype) * of_span(high - low)
    mirror = jnp.asarray(mirrored)[span]
    if times == "uniform":
        u = jnp.where(mirror, 1 - p, p)
    else:
        z = ndtri(jnp.maximum(p, jnp.finfo(dtype).tiny))
        u = jax.nn.sigmoid(jnp.where(mirror, -z, z))
    # Rounding must not carry a time over the end of its span.
    floor = np.array([_float(low, dtype, up=True) for low, _ in spans])
    ceiling = np.array([1 if high == 1 else _float(high, dtype, up=False) for _, high in spans])
    return jnp.clip(shift(u, ratio), of_span(floor), of_span(ceiling))


def steps_in(spans: Sequence[Span]) -> np.ndarray:
    """The steps of the VP chain whose times lie in one of the spans, int32, rising."""
    t = np.arange(STEPS) / STEPS
    return np.flatnonzero(np.any([(low <= t) & (t < high) for low, high in spans], axis=0)).astype(np.int32)


def _tails(times: str, spans: Sequence[Span], ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The probabilities (K,) float64 below both ends of each span or, where that is mirrored (K,) bool, above them."""
    ends = shift(np.asarray(spans, np.float64), 1 / ratio).clip(0, 1)  # before the resolution shift
    if times == "uniform":
        below, above = ends, 1 - ends
    else:
        z = special.logit(ends)
        below, above = special.ndtr(z), special.ndtr(-z)
    mirrored = below.mean(axis=1) > 0.5
    low = np.where(mirrored, above[:, 1], below[:, 0])
    high = np.where(mirrored, above[:, 0], below[:, 1])
    return low, high, mirrored


def _float(value: float, dtype: jnp.dtype, *, up: bool) -> np.floating:
    """The nearest number of a dtype that is not below a value (`up`), or that is below it."""
    rounded = np.dtype(dtype).type(value)
    if up:
        return rounded if rounded >= value else np.nextafter(rounded, np.inf, dtype=dtype)
    return rounded if rounded < value else np.nextafter(rounded, -np.inf, dtype=dtype)
