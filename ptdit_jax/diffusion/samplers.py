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

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ptdit_jax.diffusion import flow_samplers, grids, vp_samplers
from ptdit_jax.diffusion.losses import Denoise, Objective
from ptdit_jax.diffusion.method import Row, Sampler, State
from ptdit_jax.diffusion.paths import ALPHA_BAR, STEPS, Flow

__all__ = ["SAMPLERS", "Sampler", "State", "make_sampler", "sample"]


def sample(
    key: jax.Array,
    denoise: Denoise,
    noise: jax.Array,
    objective: Objective,
    *,
    sampler: str,
    steps: int,
    **options: Any,
) -> jax.Array:
    """Data (B, C, F, H, W) from noise of that shape; meant to be called under `jax.jit`.

    Args:
        key: for the samplers that draw noise ("ddpm", "sde"); the others give the same for every key.
        denoise: (x_t, t) -> network output, as in training; with guidance from `guidance.classifier_free`.
        noise: standard normal; its dtype is the sampler's.
        objective: what the network was trained for.
        sampler: a name in `SAMPLERS`, see `make_sampler`.
        steps: number of steps.
        **options: what else `make_sampler` takes.
    """
    method = make_sampler(objective, sampler, steps=steps, **options)

    def body(state: State, row: Row) -> tuple[State, None]:
        return method.step(key, denoise, state, row), None

    rows = {name: jnp.asarray(column, noise.dtype) for name, column in method.table.items()}
    rows["index"] = jnp.arange(method.evaluations)
    return jax.lax.scan(body, method.start(noise), rows)[0].x


def make_sampler(
    objective: Objective,
    sampler: str,
    *,
    steps: int,
    time_grid: str = "auto",
    sde_last_step: str = "euler",
    sde_last_step_size: float = 0.0,
) -> Sampler:
    """The table of a sampler.

    Args:
        objective: what the network was trained for.
        sampler: one of `SAMPLERS` of the objective's path.
        steps: number of steps; all samplers evaluate the network once a step but "heun", 2 steps - 1 times.
        time_grid: the times, one of `grids.GRIDS` of the sampler or "auto", its own; see `grids`.
        sde_last_step: how "sde" ends, see `flow_samplers.sde`; the others ignore it.
        sde_last_step_size: time at which that last step starts; 0: that of an even step.

    Raises:
        ValueError: for a sampler of another path, a grid of another sampler, or a number of steps that path or grid
            does not have.
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
    grid = grids.resolve(time_grid, sampler)
    grids.check_sde_last_step(sde_last_step, sde_last_step_size)
    ratio = objective.shift_ratio
    if sampler == "sde":
        times = grids.sde_times(steps, ratio, sde_last_step, sde_last_step_size)
        return flow_samplers.sde(objective, times, sde_last_step)
    if path == "flow":
        return _FLOW[sampler](objective, grids.flow_times(grid, steps, ratio))
    return _VP[sampler](objective, grids.vp_chain(grid, sampler, steps, ALPHA_BAR))


Method = Callable[[Objective, np.ndarray], Sampler]
_FLOW: dict[str, Method] = {"euler": flow_samplers.euler, "heun": flow_samplers.heun}
_VP: dict[str, Method] = {
    "ddpm": vp_samplers.ddpm,
    "ddim": vp_samplers.ddim,
    "dpmpp_2m": vp_samplers.dpmpp_2m,
}
SAMPLERS = {"flow": (*_FLOW, "sde"), "vp": tuple(_VP)}
