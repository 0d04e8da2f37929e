"""The paths from data to noise, x_t = alpha(t) x0 + sigma(t) eps with eps ~ N(0, I).

The one time convention of the project: t is (B,) float in [0, 1], t = 0 is data, t = 1 is noise; a network
scales it by 1000 itself.

Shapes: B batch, C channels, F frames, H height, W width; data are (B, C, F, H, W).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

STEPS = 1000  # steps of the discrete VP chain; step i is t = i / STEPS
BETA_FIRST, BETA_LAST = 1e-4, 0.02

# Products of 1000 factors near 1 lose digits in float32, so the schedule is made on the host in float64.
ALPHA_BAR = np.cumprod(1.0 - np.linspace(BETA_FIRST, BETA_LAST, STEPS))  # (STEPS,)


@dataclass(frozen=True)
class Flow:
    """Rectified flow, the linear path of SiT (arXiv 2401.08740): alpha = 1 - t, sigma = t."""

    def alpha(self, t: jax.Array) -> jax.Array:
        """Factor of the data, shaped as t."""
        return 1 - t

    def sigma(self, t: jax.Array) -> jax.Array:
        """Factor of the noise, shaped as t."""
        return t

    def log_snr(self, t: jax.Array) -> jax.Array:
        """log(alpha^2 / sigma^2): +inf at data, -inf at noise."""
        return 2 * (jnp.log1p(-t) - jnp.log(t))


@dataclass(frozen=True)
class VariancePreserving:
    """DDPM's chain (arXiv 2006.11239) with DiT's betas: alpha^2 = prod(1 - beta), sigma^2 = 1 - alpha^2.

    It is defined at its 1000 steps only, t = 0, 0.001 ... 0.999; another t means the nearest of them.
    """

    def step(self, t: jax.Array) -> jax.Array:
        """The step (B,) int32 in [0, 999] nearest to t."""
        return jnp.clip(jnp.round(t * STEPS).astype(jnp.int32), 0, STEPS - 1)

    def alpha(self, t: jax.Array) -> jax.Array:
        """Factor of the data, shaped as t."""
        return self._look_up(np.sqrt(ALPHA_BAR), t)

    def sigma(self, t: jax.Array) -> jax.Array:
        """Factor of the noise, shaped as t."""
        return self._look_up(np.sqrt(1 - ALPHA_BAR), t)

    def log_snr(self, t: jax.Array) -> jax.Array:
        """log(alpha^2 / sigma^2), from 9.2 at the first step to -10.1 at the last."""
        return self._look_up(np.log(ALPHA_BAR) - np.log1p(-ALPHA_BAR), t)

    def _look_up(self, table: np.ndarray, t: jax.Array) -> jax.Array:
        return jnp.asarray(table, t.dtype)[self.step(t)]


Path = Flow | VariancePreserving
PATHS: dict[str, Path] = {"flow": Flow(), "vp": VariancePreserving()}


def expand(values: jax.Array, like: jax.Array) -> jax.Array:
    """(B,) to (B, 1, ...) with the rank of `like`, to scale each sample by its own value."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


def diffuse(path: Path, x0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
    """The forward process: x_t (B, C, F, H, W) from data x0, noise eps and times t (B,)."""
    return expand(path.alpha(t), x0) * x0 + expand(path.sigma(t), x0) * eps


class Posterior(NamedTuple):
    """q(x_before | x_t, x0) = N(x0_coefficient x0 + xt_coefficient x_t, exp(log_variance)) along a chain.

    Each field is (K,) float64, one value a step of the chain.
    """

    x0_coefficient: np.ndarray
    xt_coefficient: np.ndarray
    log_variance: np.ndarray  # the posterior's own: the least a reverse step can have
    log_beta: np.ndarray  # log of the forward step's variance: the most it can have


def posterior(alpha_bar: np.ndarray) -> Posterior:
    """The posterior of every step of a chain (arXiv 2006.11239, Eq. 7; bounds: 2102.09672, Sec. 3.1).

    Args:
        alpha_bar: (K,) float64, falling from little noise to much: the whole schedule or some of its steps.
            Before the first lies the data, alpha_bar = 1.
    """
    before = np.append(1.0, alpha_bar[:-1])
    beta = 1 - alpha_bar / before
    variance = beta * (1 - before) / (1 - alpha_bar)
    # The step to the data has variance 0; its log takes the next step's, as improved diffusion does.
    variance[0] = variance[1] if len(variance) > 1 else beta[0]
    return Posterior(
        x0_coefficient=beta * np.sqrt(before) / (1 - alpha_bar),
        xt_coefficient=(1 - before) * np.sqrt(1 - beta) / (1 - alpha_bar),
        log_variance=np.log(variance),
        log_beta=np.log(beta),
    )
