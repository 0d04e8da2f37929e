"""Samplers of the flow path: Euler, Heun and an SDE.

Times t (N + 1,) fall from 1, noise, to 0, data; with the velocity u = x0 - eps, dx = u (-dt).
"""

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.diffusion import conversions
from ptdit_jax.diffusion.losses import Objective
from ptdit_jax.diffusion.method import Row, Sampler, State, normal


def euler(objective: Objective, t: np.ndarray) -> Sampler:
    """One evaluation a step, x += h u."""
    return Sampler(objective, {"t": t[:-1], "h": t[:-1] - t[1:]}, _euler_update, remembers=0)


def _euler_update(objective, prediction, variance, state, row, key) -> State:
    return State(state.x + row["h"] * _velocity(objective, prediction, state, row), ())


def heun(objective: Objective, t: np.ndarray) -> Sampler:
    """Two evaluations a step, x += h (u(x, t) + u(x + h u, t - h)) / 2; the step to t = 0 is Euler's.

    A network has little to say at t = 0 itself, and one step of first order leaves the method at second order
    (as in arXiv 2206.00364, Alg. 1).
    """
    h = t[:-1] - t[1:]
    rows = {
        "t": np.repeat(t, 2)[1:-2],  # t_0, t_1, t_1, t_2, t_2 ... t_{N-1}, t_{N-1}
        "h": np.repeat(h, 2)[:-1],
        "correct": np.arange(2 * len(h) - 1) % 2,
    }
    return Sampler(objective, rows, _heun_update, remembers=2)


def _heun_update(objective, prediction, variance, state, row, key) -> State:
    start, first = state.memory
    velocity = _velocity(objective, prediction, state, row)
    correct = row["correct"] > 0
    base = jnp.where(correct, start, state.x)
    slope = jnp.where(correct, (first + velocity) / 2, velocity)
    return State(base + row["h"] * slope, (base, velocity))


def sde(objective: Objective, t: np.ndarray, last_step: str) -> Sampler:
    """Euler-Maruyama on the reverse SDE dx = (u + w s / 2)(-dt) + sqrt(w) dW (arXiv 2401.08740, Sec. 2).

    The score is s = -eps / t, and w = 2 t is what SiT's published sampler uses (its paper writes w = t): the
    drift u - eps has no division.  Noise added in the last step would stay, so it is the ODE's ("euler", and on this
    path "tweedie", the network's idea of the data, is the same), the SDE's without its noise ("mean", SiT's published
    choice), or like all others ("none").
    """
    h = t[:-1] - t[1:]
    inner = np.arange(len(h)) < len(h) - 1
    drawn = inner | (last_step == "none")
    drifts = drawn | (last_step == "mean")
    rows = {"t": t[:-1], "h": h, "h_eps": h * drifts, "noise": np.sqrt(2 * t[:-1] * h) * drawn}
    return Sampler(objective, rows, _sde_update, remembers=0)


def _sde_update(objective, prediction, variance, state, row, key) -> State:
    x = state.x
    velocity = _velocity(objective, prediction, state, row)
    eps = conversions.convert("velocity", "eps", velocity, x, 1 - row["t"], row["t"])
    z = normal(key, x)
    return State(x + row["h"] * velocity - row["h_eps"] * eps + row["noise"] * z, ())


def _velocity(objective: Objective, prediction: jax.Array, state: State, row: Row) -> jax.Array:
    return conversions.convert(objective.prediction, "velocity", prediction, state.x, 1 - row["t"], row["t"])
