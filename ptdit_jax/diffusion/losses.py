"""The training objective: what is predicted, at which times, and how errors are weighted.

Shapes: B batch, C channels, F frames, H height, W width; data, noise and x_t are (B, C, F, H, W), t is (B,).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from ptdit_jax.diffusion import conversions, times
from ptdit_jax.diffusion import spans as time_spans
from ptdit_jax.diffusion.grids import shift
from ptdit_jax.diffusion.paths import (
    ALPHA_BAR,
    STEPS,
    Flow,
    Path,
    VariancePreserving,
    diffuse,
    expand,
    posterior,
)

Denoise = Callable[[jax.Array, jax.Array], jax.Array]  # (x_t, t) -> network output (B, C or 2C, F, H, W)

BIN = 1 / 255  # half the width of a bin of 8-bit data scaled to [-1, 1]
POSTERIOR = posterior(ALPHA_BAR)


@dataclass(frozen=True)
class Objective:
    """What `ptdit_jax.diffusion.make` builds; hashable, so it can be a static argument under `jax.jit`."""

    path: Path
    prediction: str  # a key of `conversions.PREDICTIONS`
    learn_variance: bool  # VP: C more outputs and the hybrid loss
    times: str  # one of `times.TIMES`
    shift_ratio: float  # r of the resolution shift; 1 = none
    weighting: str  # "uniform" or "min_snr"
    min_snr_gamma: float
    spans: tuple[time_spans.Span, ...] = ()  # in which training times lie; () = all of [0, 1]

    def draw_times(self, key: jax.Array, batch: int, dtype: jnp.dtype = jnp.float32) -> jax.Array:
        """Training times t (B,)."""
        if self.spans:
            return time_spans.draw(key, batch, dtype, self._times, self.spans, self.shift_ratio)
        if not isinstance(self.path, Flow):
            return times.uniform_steps(key, batch, dtype)
        draw = {"uniform": times.uniform, "logit_normal": times.logit_normal}[self.times]
        return shift(draw(key, batch, dtype), self.shift_ratio)

    @property
    def mass(self) -> float:
        """The probability that a training time drawn from all of [0, 1] lies in `spans`."""
        return time_spans.mass(self._times, self.spans or ((0.0, 1.0),), self.shift_ratio)

    @property
    def _times(self) -> str:
        return self.times if isinstance(self.path, Flow) else "steps"

    def loss(self, key: jax.Array, denoise: Denoise, x0: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss at random times and noise: see `loss_at`."""
        key_times, key_noise = jax.random.split(key)
        t = self.draw_times(key_times, len(x0), x0.dtype)
        return self.loss_at(denoise, x0, jax.random.normal(key_noise, x0.shape, x0.dtype), t)

    def loss_at(
        self, denoise: Denoise, x0: jax.Array, eps: jax.Array, t: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of every sample (B,), and scalars to log, for given noise and times.

        The weighted mean of the squared error over a sample; with a learned variance plus its `vlb_term`.
        """
        x_t = diffuse(self.path, x0, eps, t)
        prediction, variance = self.split(denoise(x_t, t), x0.shape[1])
        alpha, sigma = expand(self.path.alpha(t), x0), expand(self.path.sigma(t), x0)
        error = prediction - conversions.target(self.prediction, x0, eps, alpha, sigma)
        squared = jnp.mean(error**2, axis=tuple(range(1, x0.ndim)))  # (B,)
        metrics = {"mse": squared.mean()}
        loss = squared
        if self.weighting == "min_snr":
            loss = loss * min_snr_weight(
                self.prediction, self.path.alpha(t), self.path.sigma(t), self.min_snr_gamma
            )
        if self.learn_variance:
            assert isinstance(self.path, VariancePreserving)
            predicted_x0 = conversions.convert(self.prediction, "x0", prediction, x_t, alpha, sigma)
            vlb = vlb_term(x0, predicted_x0, variance, self.path.step(t))
            metrics["vlb"] = vlb.mean()
            # 0.001 of the sum over all steps (arXiv 2102.09672, Eq. 16), of which this is the mean.
            loss = loss + 0.001 * STEPS * vlb
        return loss, metrics

    def split(self, output: jax.Array, channels: int) -> tuple[jax.Array, jax.Array]:
        """A network's output as (prediction, rest): the first C channels, and what is left.

        The rest is the C channels of a learned variance; a released network has them too, unused.

        Raises:
            ValueError: when the output has neither C nor 2C channels, or C with a learned variance.
        """
        allowed = (2 * channels,) if self.learn_variance else (channels, 2 * channels)
        if output.shape[1] not in allowed:
            raise ValueError(
                f"the network's output has {output.shape[1]} channels; data of {channels} channels with "
                f"learn_variance={self.learn_variance} need {' or '.join(map(str, allowed))}"
            )
        return output[:, :channels], output[:, channels:]


def min_snr_weight(prediction: str, alpha: jax.Array, sigma: jax.Array, gamma: float) -> jax.Array:
    """min(SNR, gamma) as a weight of the error of x0 (arXiv 2303.09556, Sec. 3), for any prediction.

    An error of the prediction is an error of x0 times a factor, whose square turns the weight into
    min(SNR, gamma) / SNR for "eps", / (SNR + 1) for "v", and t^2 min(SNR, gamma) for the flow's "velocity".
    """
    snr = (alpha / sigma) ** 2
    return jnp.minimum(snr, gamma) * conversions.x0_error_scale(prediction, alpha, sigma) ** 2


def log_variance_between(variance: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
    """The learned log-variance: `low` at -1, `high` at 1, linear between (arXiv 2102.09672, Eq. 15)."""
    fraction = (variance + 1) / 2
    return fraction * high + (1 - fraction) * low


def vlb_term(x0: jax.Array, predicted_x0: jax.Array, variance: jax.Array, step: jax.Array) -> jax.Array:
    """The variational bound's term of one step, (B,) in bits a dimension: it trains the variance alone.

    KL(q(x_before | x_t, x0) || p(x_before | x_t)), and at step 0 the likelihood of 8-bit data in [-1, 1]
    (arXiv 2102.09672, Eq. 4-6).  No gradient reaches the mean.

    Args:
        x0: (B, C, F, H, W), the data.
        predicted_x0: (B, C, F, H, W), the network's idea of them.
        variance: (B, C, F, H, W), the network's second C channels, see `log_variance_between`.
        step: (B,) int32, step of the chain.
    """

    def at_step(table: np.ndarray) -> jax.Array:
        return expand(jnp.asarray(table, x0.dtype)[step], x0)

    error = x0 - jax.lax.stop_gradient(predicted_x0)
    true_log_variance = at_step(POSTERIOR.log_variance)
    log_variance = log_variance_between(variance, true_log_variance, at_step(POSTERIOR.log_beta))
    # The two means share their x_t part, and at step 0 the mean is the predicted x0.
    kl = normal_kl(at_step(POSTERIOR.x0_coefficient) * error, true_log_variance, log_variance)
    nll = -log_likelihood_of_bin(x0, error, log_variance)
    nats = jnp.where(expand(step == 0, x0), nll, kl)
    return nats.mean(axis=tuple(range(1, x0.ndim))) / math.log(2)


def normal_kl(mean_difference: jax.Array, log_variance_1: jax.Array, log_variance_2: jax.Array) -> jax.Array:
    """KL(N_1 || N_2) of two normals in nats, elementwise."""
    ratio = log_variance_1 - log_variance_2
    return 0.5 * (jnp.exp(ratio) - 1 - ratio + mean_difference**2 * jnp.exp(-log_variance_2))


def log_likelihood_of_bin(x0: jax.Array, error: jax.Array, log_variance: jax.Array) -> jax.Array:
    """The log-probability of the 8-bit bin around x0 under N(x0 - error, variance), in nats.

    The outermost bins reach to infinity; below 1e-12 a probability counts as that (arXiv 2006.11239, Eq. 13).
    """
    inverse_std = jnp.exp(-0.5 * log_variance)
    upper, lower = inverse_std * (error + BIN), inverse_std * (error - BIN)
    # A difference of two cdfs near 1 rounds to 0, so both are taken in the lower tail.
    flip = error > 0
    middle = ndtr(jnp.where(flip, -lower, upper)) - ndtr(jnp.where(flip, -upper, lower))
    probability = jnp.where(x0 < -0.999, ndtr(upper), jnp.where(x0 > 0.999, ndtr(-lower), middle))
    return jnp.log(jnp.maximum(probability, 1e-12))
