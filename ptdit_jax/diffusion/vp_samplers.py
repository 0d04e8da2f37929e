"""Samplers of the variance-preserving path: DDPM, DDIM and DPM-Solver++(2M).

Points of the chain (N + 1,) fall from much noise to little; the last is the data, alpha = 1 and sigma = 0, or with
DPM-Solver's own grids the chain's step 0.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.diffusion import conversions, grids
from ptdit_jax.diffusion.losses import Objective, log_variance_between
from ptdit_jax.diffusion.method import Row, Sampler, State, normal
from ptdit_jax.diffusion.paths import ALPHA_BAR, STEPS, posterior


def _vp_rows(chain: np.ndarray) -> dict[str, np.ndarray]:
    alpha_bar = grids.alpha_bar_at(chain, ALPHA_BAR)
    now, after = alpha_bar[:-1], alpha_bar[1:]
    return {
        "t": chain[:-1] / STEPS,
        "alpha": np.sqrt(now),
        "sigma": np.sqrt(1 - now),
        "alpha_after": np.sqrt(after),
        "sigma_after": np.sqrt(1 - after),
    }


def ddpm(objective: Objective, chain: np.ndarray) -> Sampler:
    """Ancestral sampling (arXiv 2006.11239, Alg. 2) with the learned variance, or beta's if none is."""
    # `posterior` counts from the data, a sampler from the noise.
    steps_back = posterior(ALPHA_BAR[chain[-2::-1]])
    rows = _vp_rows(chain) | {name: column[::-1] for name, column in steps_back._asdict().items()}
    rows["noise"] = (chain[1:] >= 0).astype(float)  # the last step returns its mean
    return Sampler(objective, rows, _ddpm_update, remembers=0)


def _ddpm_update(objective, prediction, variance, state, row, key) -> State:
    x = state.x
    x0, _ = _x0_eps(objective, prediction, state, row)
    mean = row["x0_coefficient"] * x0 + row["xt_coefficient"] * x
    if objective.learn_variance:
        log_variance = log_variance_between(variance, row["log_variance"], row["log_beta"])
    else:
        log_variance = row["log_beta"]
    z = normal(key, x)
    return State(mean + row["noise"] * jnp.exp(log_variance / 2) * z, ())


def ddim(objective: Objective, chain: np.ndarray) -> Sampler:
    """The deterministic sampler (arXiv 2010.02502, Eq. 12 with no noise)."""
    return Sampler(objective, _vp_rows(chain), _ddim_update, remembers=0)


def _ddim_update(objective, prediction, variance, state, row, key) -> State:
    x0, eps = _x0_eps(objective, prediction, state, row)
    return State(row["alpha_after"] * x0 + row["sigma_after"] * eps, ())


def dpmpp_2m(objective: Objective, chain: np.ndarray) -> Sampler:
    """DPM-Solver++(2M) (arXiv 2211.01095, Alg. 2): x0 extrapolated in half the log-SNR from two evaluations.

    The first step has no past, and in one to the data the log-SNR goes to infinity: both are of first order.  So is a
    last step to the chain's step 0 of fewer than ten, as in DPM-Solver's own code.

    Its own steps are quadratic: evenly spread ones leave the largest gap of log-SNR to the end, where extrapolation
    makes the error several times larger.
    """
    rows = _vp_rows(chain)
    steps = len(rows["t"])
    half_log_snr = np.log(rows["alpha"] / rows["sigma"])
    if chain[-1] >= 0:
        half_log_snr = np.append(half_log_snr, np.log(rows["alpha_after"][-1] / rows["sigma_after"][-1]))
    h = np.diff(half_log_snr)  # of all steps but one to the data
    past = np.zeros(steps)  # 1 / (2 r), r = h_before / h
    past[1 : len(h)] = h[1:] / (2 * h[:-1])
    past[-1] *= steps >= 10
    keep = rows["sigma_after"] / rows["sigma"]
    # alpha_after (1 - exp(-h)), finite in the last step too
    gain = rows["alpha_after"] - rows["alpha"] * keep
    rows |= {"keep": keep, "now": gain * (1 + past), "past": -gain * past}
    return Sampler(objective, rows, _dpmpp_2m_update, remembers=1)


def _dpmpp_2m_update(objective, prediction, variance, state, row, key) -> State:
    (x0_before,) = state.memory
    x0, _ = _x0_eps(objective, prediction, state, row)
    return State(row["keep"] * state.x + row["now"] * x0 + row["past"] * x0_before, (x0,))


def _x0_eps(
    objective: Objective, prediction: jax.Array, state: State, row: Row
) -> tuple[jax.Array, jax.Array]:
    return conversions.to_x0_eps(objective.prediction, prediction, state.x, row["alpha"], row["sigma"])
