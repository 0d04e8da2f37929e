"""From noise to data: DDPM, DDIM, DPM-Solver++(2M) on the VP path; Euler, Heun, an SDE on the flow path.

A sampler is a table of rows of scalars, made on the host in float64, and an `update`.  A row stands for one
evaluation of the network, so `evaluations` is known before, a loop over rows compiles the network once, and a
jitted `step` serves any number of rows:

    sampler = make_sampler(objective, "euler", steps=50)
    step = jax.jit(lambda key, state, row: sampler.step(key, denoise, state, row))
    state = sampler.start(noise)
    for row in sampler.rows():
        state = step(key, state, row)   # here an entry point moves its progress bar
    x0 = state.x

`sample` is the same loop as one `jax.lax.scan`, with the same result.

Shapes: noise, x and predictions are (B, C, F, H, W).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.diffusion import conversions
from ptdit_jax.diffusion.losses import Denoise, Objective, log_variance_between
from ptdit_jax.diffusion.paths import ALPHA_BAR, STEPS, Flow, posterior
from ptdit_jax.diffusion.times import sampling_table

Table = dict[str, np.ndarray]  # each (evaluations,) float64; "t" is the time the network sees
Row = dict[str, Any]  # the scalars of one evaluation, and "index", which counts evaluations


class State(NamedTuple):
    """Between two evaluations: where the sampler is, and what its method remembers (arrays shaped as x)."""

    x: jax.Array
    memory: tuple[jax.Array, ...]


@dataclass(frozen=True)
class Sampler:
    """A method with its table for a number of steps; see the head of this file."""

    objective: Objective
    table: Table
    update: Callable[[Objective, jax.Array, jax.Array, State, Row, jax.Array], State]
    remembers: int  # arrays in the memory

    @property
    def evaluations(self) -> int:
        """How often the network is evaluated (with guidance, each time on a doubled batch)."""
        return len(self.table["t"])

    def rows(self) -> Iterator[Row]:
        """The rows in order, each to be given to `step`."""
        for i in range(self.evaluations):
            yield {"index": i} | {name: column[i] for name, column in self.table.items()}

    def start(self, noise: jax.Array) -> State:
        """The state before the first row."""
        # One array each: a jitted step may be given the state to reuse its buffers.
        return State(noise, tuple(jnp.zeros_like(noise) for _ in range(self.remembers)))

    def step(self, key: jax.Array, denoise: Denoise, state: State, row: Row) -> State:
        """One evaluation of the network and the update that follows; `key` is the same for all rows.

        It is one key, or (B,) keys, one a sample, whose noise then does not depend on the rest of the batch.
        """
        fold_in = jax.random.fold_in if key.ndim == 0 else jax.vmap(jax.random.fold_in, (0, None))
        key = fold_in(key, row["index"])
        row = {name: jnp.asarray(value, state.x.dtype) for name, value in row.items()}
        x = state.x
        output = denoise(x, jnp.broadcast_to(row["t"], x.shape[:1]))
        prediction, variance = self.objective.split(output, x.shape[1])
        return self.update(self.objective, prediction, variance, state, row, key)


def sample(
    key: jax.Array, denoise: Denoise, noise: jax.Array, objective: Objective, *, sampler: str, steps: int
) -> jax.Array:
    """Data (B, C, F, H, W) from noise of that shape; meant to be called under `jax.jit`.

    Args:
        key: for the samplers that draw noise ("ddpm", "sde"); the others give the same for every key.
        denoise: (x_t, t) -> network output, as in training; with guidance from `guidance.classifier_free`.
        noise: standard normal; its dtype is the sampler's.
        objective: what the network was trained for.
        sampler: a name in `SAMPLERS`, see `make_sampler`.
        steps: number of steps.
    """
    method = make_sampler(objective, sampler, steps=steps)

    def body(state: State, row: Row) -> tuple[State, None]:
        return method.step(key, denoise, state, row), None

    rows = {name: jnp.asarray(column, noise.dtype) for name, column in method.table.items()}
    rows["index"] = jnp.arange(method.evaluations)
    return jax.lax.scan(body, method.start(noise), rows)[0].x


def make_sampler(objective: Objective, sampler: str, *, steps: int) -> Sampler:
    """The table of a sampler.

    Args:
        objective: what the network was trained for.
        sampler: one of `SAMPLERS` of the objective's path.
        steps: number of steps; all samplers evaluate the network once a step but "heun", 2 steps - 1 times.

    Raises:
        ValueError: for a sampler of another path, or a number of steps the path does not have.
    """
    path = "flow" if isinstance(objective.path, Flow) else "vp"
    if sampler not in SAMPLERS[path]:
        raise ValueError(
            f"sampling.sampler is {sampler!r}; a model trained with diffusion.path {path!r} is sampled with "
            f"one of {', '.join(SAMPLERS[path])}"
        )
    if steps < 1 or (path == "vp" and steps > STEPS):
        raise ValueError(
            f"sampling.steps is {steps}; it must be at least 1" + f" and at most {STEPS}" * (path == "vp")
        )
    return _METHODS[path][sampler](objective, steps)


# Flow: times from 1 to 0 of `sampling_table`, velocity u = x0 - eps, dx = u (-dt).


def _euler(objective: Objective, steps: int) -> Sampler:
    """One evaluation a step, x += h u."""
    t = sampling_table(steps, objective.shift_ratio)
    return Sampler(objective, {"t": t[:-1], "h": t[:-1] - t[1:]}, _euler_update, remembers=0)


def _euler_update(objective, prediction, variance, state, row, key) -> State:
    return State(state.x + row["h"] * _velocity(objective, prediction, state, row), ())


def _heun(objective: Objective, steps: int) -> Sampler:
    """Two evaluations a step, x += h (u(x, t) + u(x + h u, t - h)) / 2; the step to t = 0 is Euler's.

    A network has little to say at t = 0 itself, and one step of first order leaves the method at second order
    (as in arXiv 2206.00364, Alg. 1).
    """
    t = sampling_table(steps, objective.shift_ratio)
    h = t[:-1] - t[1:]
    rows = {
        "t": np.repeat(t, 2)[1:-2],  # t_0, t_1, t_1, t_2, t_2 ... t_{N-1}, t_{N-1}
        "h": np.repeat(h, 2)[:-1],
        "correct": np.arange(2 * steps - 1) % 2,
    }
    return Sampler(objective, rows, _heun_update, remembers=2)


def _heun_update(objective, prediction, variance, state, row, key) -> State:
    start, first = state.memory
    velocity = _velocity(objective, prediction, state, row)
    correct = row["correct"] > 0
    base = jnp.where(correct, start, state.x)
    slope = jnp.where(correct, (first + velocity) / 2, velocity)
    return State(base + row["h"] * slope, (base, velocity))


def _sde(objective: Objective, steps: int) -> Sampler:
    """Euler-Maruyama on the reverse SDE dx = (u + w s / 2)(-dt) + sqrt(w) dW (arXiv 2401.08740, Sec. 2).

    The score is s = -eps / t, and w = 2 t is what SiT's published sampler uses (its paper writes w = t): the
    drift u - eps has no division.  The last step is the ODE's, because noise added there would stay.
    """
    t = sampling_table(steps, objective.shift_ratio)
    h = t[:-1] - t[1:]
    inner = np.arange(steps) < steps - 1
    rows = {"t": t[:-1], "h": h, "h_eps": h * inner, "noise": np.sqrt(2 * t[:-1] * h) * inner}
    return Sampler(objective, rows, _sde_update, remembers=0)


def _sde_update(objective, prediction, variance, state, row, key) -> State:
    x = state.x
    velocity = _velocity(objective, prediction, state, row)
    eps = conversions.convert("velocity", "eps", velocity, x, 1 - row["t"], row["t"])
    z = _normal(key, x)
    return State(x + row["h"] * velocity - row["h_eps"] * eps + row["noise"] * z, ())


def _normal(key: jax.Array, x: jax.Array) -> jax.Array:
    """Noise like x, from one key or from one a sample."""
    if key.ndim == 0:
        return jax.random.normal(key, x.shape, x.dtype)
    return jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(key)


def _velocity(objective: Objective, prediction: jax.Array, state: State, row: Row) -> jax.Array:
    return conversions.convert(objective.prediction, "velocity", prediction, state.x, 1 - row["t"], row["t"])


# VP: some steps of the chain, from much noise to little; after the last comes the data, alpha = 1, sigma = 0.


def _even(steps: int) -> np.ndarray:
    """Steps spread evenly over 999 ... 0, both included: DiT's respacing."""
    return np.round(np.linspace(STEPS - 1, 0, steps)).astype(int)


def _quadratic(steps: int) -> np.ndarray:
    """Steps at the squares of evenly spread numbers (arXiv 2010.02502, App. D.2), all different."""
    squares = np.round((STEPS - 1) * np.linspace(1, 0, steps) ** 2).astype(int)
    return np.maximum(squares, np.arange(steps)[::-1])


def _vp_rows(chain: np.ndarray) -> dict[str, np.ndarray]:
    alpha_bar = ALPHA_BAR[chain]
    after = np.append(alpha_bar[1:], 1.0)
    return {
        "t": chain / STEPS,
        "alpha": np.sqrt(alpha_bar),
        "sigma": np.sqrt(1 - alpha_bar),
        "alpha_after": np.sqrt(after),
        "sigma_after": np.sqrt(1 - after),
    }


def _ddpm(objective: Objective, steps: int) -> Sampler:
    """Ancestral sampling (arXiv 2006.11239, Alg. 2) with the learned variance, or beta's if none is."""
    chain = _even(steps)
    # `posterior` counts from the data, a sampler from the noise.
    steps_back = posterior(ALPHA_BAR[chain[::-1]])
    rows = _vp_rows(chain) | {name: column[::-1] for name, column in steps_back._asdict().items()}
    rows["noise"] = (np.arange(steps) < steps - 1).astype(float)  # the last step returns its mean
    return Sampler(objective, rows, _ddpm_update, remembers=0)


def _ddpm_update(objective, prediction, variance, state, row, key) -> State:
    x = state.x
    x0, _ = _x0_eps(objective, prediction, state, row)
    mean = row["x0_coefficient"] * x0 + row["xt_coefficient"] * x
    if objective.learn_variance:
        log_variance = log_variance_between(variance, row["log_variance"], row["log_beta"])
    else:
        log_variance = row["log_beta"]
    z = _normal(key, x)
    return State(mean + row["noise"] * jnp.exp(log_variance / 2) * z, ())


def _ddim(objective: Objective, steps: int) -> Sampler:
    """The deterministic sampler (arXiv 2010.02502, Eq. 12 with no noise)."""
    return Sampler(objective, _vp_rows(_even(steps)), _ddim_update, remembers=0)


def _ddim_update(objective, prediction, variance, state, row, key) -> State:
    x0, eps = _x0_eps(objective, prediction, state, row)
    return State(row["alpha_after"] * x0 + row["sigma_after"] * eps, ())


def _dpmpp_2m(objective: Objective, steps: int) -> Sampler:
    """DPM-Solver++(2M) (arXiv 2211.01095, Alg. 2): x0 extrapolated in half the log-SNR from two evaluations.

    The first step has no past, and in the last the log-SNR goes to infinity: both are of first order.

    Steps are quadratic: evenly spread ones leave the largest gap of log-SNR to the end, where extrapolation
    makes the error several times larger.
    """
    rows = _vp_rows(_quadratic(steps))
    half_log_snr = np.log(rows["alpha"] / rows["sigma"])
    h = np.diff(half_log_snr)  # (steps - 1,): of all steps but the last
    past = np.zeros(steps)  # 1 / (2 r), r = h_before / h
    past[1:-1] = h[1:] / (2 * h[:-1])
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


_METHODS: dict[str, dict[str, Callable[[Objective, int], Sampler]]] = {
    "flow": {"euler": _euler, "heun": _heun, "sde": _sde},
    "vp": {"ddpm": _ddpm, "ddim": _ddim, "dpmpp_2m": _dpmpp_2m},
}
SAMPLERS = {path: tuple(methods) for path, methods in _METHODS.items()}
