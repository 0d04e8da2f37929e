"""The times at which a sampler evaluates the network: our own grids, and those of published code by their names.

On the flow path a grid is times, from 1 to 0.  On the VP path it is points of the chain of 1000 steps, from 999 to the
data, which is -1; a point between two steps is one of DPM-Solver's, which takes log(alpha) as linear there.

This file needs numpy alone: an export to PyTorch carries a copy of it.
"""

from collections.abc import Callable

import numpy as np

FLOW_GRIDS = ("even", "sit", "flow_match_euler")
DPM_SOLVER_GRIDS = ("time_uniform", "logSNR", "time_quadratic")
GRIDS = {
    "euler": FLOW_GRIDS,
    "heun": FLOW_GRIDS,
    "sde": ("even",),
    "ddpm": ("guided_diffusion", "guided_diffusion_ddim", "quadratic", "linspace", "leading", "trailing"),
}
GRIDS["ddim"] = (*GRIDS["ddpm"], *DPM_SOLVER_GRIDS)
GRIDS["dpmpp_2m"] = ("quadratic", *(name for name in GRIDS["ddim"] if name != "quadratic"))
"""The grids that a sampler takes, its own first: that is what "auto" means."""

SDE_LAST_STEPS = ("euler", "mean", "tweedie", "none")


def resolve(grid: str, sampler: str) -> str:
    """The name of a grid, with "auto" for the sampler's own.

    Raises:
      ValueError: the sampler does not take it.
    """
    if grid not in ("auto", *GRIDS[sampler]):
        raise ValueError(
            f"sampling.time_grid is {grid!r}; with sampling.sampler={sampler!r} it must be one of auto, "
            f"{', '.join(GRIDS[sampler])}"
        )
    return GRIDS[sampler][0] if grid == "auto" else grid


# Flow: times.


def shift(u, ratio: float):
    """Times u as r u / (1 + (r - 1) u): 0 and 1 stay, r > 1 moves to noise (arXiv 2403.03206, Eq. 23)."""
    return ratio * u / (1 + (ratio - 1) * u)


def flow_times(grid: str, steps: int, ratio: float = 1.0) -> np.ndarray:
    """The times of a flow sampler, float64, from 1 to 0: (steps + 1,), or (steps,) of "sit".

    Args:
      grid: "even", u_i = 1 - i / N: PT-DiT's release and, with its shift, Flux; "sit", N points with both ends, so
        N - 1 steps, as SiT gives to torchdiffeq; "flow_match_euler", N points down to the least of 1000 training times
        and then 0, as diffusers' FlowMatchEulerDiscreteScheduler and Stable Diffusion 3: that time comes shifted
        already, and is shifted again.
      steps: N.
      ratio: r of the resolution shift, which all of them are given.

    Raises:
      ValueError: "sit" has no step.
    """
    if grid == "even":
        return shift(1 - np.arange(steps + 1) / steps, ratio)
    if grid == "sit":
        if steps < 2:
            raise ValueError(f"sampling.steps is {steps}; the points of time_grid 'sit' must be at least 2")
        return shift(np.linspace(1, 0, steps), ratio)
    assert grid == "flow_match_euler", grid
    return np.append(shift(np.linspace(1, shift(1 / 1000, ratio), steps), ratio), 0.0)


def check_sde_last_step(last_step: str, size: float) -> None:
    """Refuse an unknown last step of the SDE sampler, and a size that it cannot have.

    Raises:
      ValueError: it is one.
    """
    if last_step not in SDE_LAST_STEPS:
        raise ValueError(
            f"sampling.sde_last_step is {last_step!r}; it must be one of {', '.join(SDE_LAST_STEPS)}"
        )
    if last_step == "none" and size:
        raise ValueError(f"sampling.sde_last_step_size is {size}; with sde_last_step 'none' it must be 0")
    if not 0 <= size < 1:
        raise ValueError(
            f"sampling.sde_last_step_size is {size}; it must be in (0, 1), or 0 for an even step's"
        )


def sde_times(steps: int, ratio: float, last_step: str, size: float) -> np.ndarray:
    """The times of the SDE sampler, float64, from 1 to 0: (steps + 1,), or (steps,) without a last step of its own.

    Args:
      steps: N.
      ratio: r of the resolution shift.
      last_step: one of `SDE_LAST_STEPS`; "none": all steps draw noise, and the last ends at 0.
      size: time at which the last step starts and the N points from 1 end; 0 for the even grid's 1 / N, shifted.

    Raises:
      ValueError: fewer than two points with either.
    """
    if steps < 2 and (last_step == "none" or size):
        raise ValueError(
            f"sampling.steps is {steps}; with sampling.sde_last_step={last_step!r} and sde_last_step_size={size} it "
            "must be at least 2"
        )
    if last_step == "none":
        return flow_times("sit", steps, ratio)
    if size == 0:
        return flow_times("even", steps, ratio)
    return np.append(shift(np.linspace(1, shift(size, 1 / ratio), steps), ratio), 0.0)


# VP: points of the chain.


def vp_chain(grid: str, sampler: str, steps: int, alpha_bar: np.ndarray) -> np.ndarray:
    """The points (steps + 1,) of a VP sampler, falling: int64 and -1 at the end, or DPM-Solver's, float64 and 0.

    Args:
      grid: a name in `GRIDS`.  "guided_diffusion": evenly spread with both ends, as improved diffusion's and DiT's
        respacing to "N"; "guided_diffusion_ddim": its "ddimN"; "linspace", "leading", "trailing": the spacings of
        diffusers' scheduler for that sampler (arXiv 2305.08891, Table 2), DPMSolverMultistepScheduler's for
        "dpmpp_2m"; "time_uniform", "logSNR", "time_quadratic": the skip types of DPM-Solver's own code, which ends at
        step 0 and not at the data; "quadratic": whole numbers near the squares of evenly spread ones.
      sampler: "ddpm", "ddim" or "dpmpp_2m".
      steps: N, one evaluation of the network each.
      alpha_bar: (K,) float64 of the whole chain.

    Raises:
      ValueError: the grid does not have as many different steps.
    """
    size = len(alpha_bar)
    if grid in DPM_SOLVER_GRIDS:
        chain = _dpm_solver(grid, steps, alpha_bar)
    else:
        spacings = SPACINGS | (DPM_SPACINGS if sampler == "dpmpp_2m" else {})
        chain = np.append(spacings[grid](steps, size), -1)
    if not 1 <= steps <= size or (np.diff(chain) >= 0).any():
        raise ValueError(
            f"sampling.steps is {steps}; time_grid {grid!r} has not as many different steps for sampler {sampler!r}"
        )
    return chain


def alpha_bar_at(chain: np.ndarray, alpha_bar: np.ndarray) -> np.ndarray:
    """alpha^2 (float64) at points of the chain: 1 at the data, and between two steps linear in its log."""
    if np.issubdtype(chain.dtype, np.integer):
        return np.append(alpha_bar, 1.0)[chain]
    return np.exp(np.interp(chain, np.arange(len(alpha_bar)), np.log(alpha_bar)))


def _guided_diffusion(steps: int, size: int) -> np.ndarray:
    stride = (size - 1) / (steps - 1) if steps > 1 else 1.0
    # Strides are added up and halves go to the even number: a product rounds to another step now and then.
    return np.rint(np.cumsum([0.0] + [stride] * (steps - 1))).astype(int)[::-1]


def _guided_diffusion_ddim(steps: int, size: int) -> np.ndarray:
    counts = {len(range(0, size, stride)): stride for stride in range(size - 1, 0, -1)}
    if steps not in counts:
        nearest = sorted(counts, key=lambda count: abs(count - steps))[:2]
        raise ValueError(
            f"sampling.steps is {steps}; no whole stride takes as many steps, which time_grid 'guided_diffusion_ddim' "
            f"needs; the nearest are {' and '.join(map(str, sorted(nearest)))}"
        )
    return np.arange(0, size, counts[steps])[::-1]


def _quadratic(steps: int, size: int) -> np.ndarray:
    """Steps at the squares of evenly spread numbers (arXiv 2010.02502, App. D.2), all different."""
    squares = np.round((size - 1) * np.linspace(1, 0, steps) ** 2).astype(int)
    return np.maximum(squares, np.arange(steps)[::-1])


def _linspace(steps: int, size: int) -> np.ndarray:
    return np.rint(np.linspace(0, size - 1, steps)).astype(int)[::-1]


def _leading(steps: int, size: int) -> np.ndarray:
    return np.arange(steps)[::-1] * (size // steps)


def _trailing(steps: int, size: int) -> np.ndarray:
    # Rounded strides can leave room for one point more.
    return np.rint(np.arange(size, 0, -size / steps)).astype(int)[:steps] - 1


Spacing = Callable[[int, int], np.ndarray]  # (N, K) -> (N,) int64 in [0, K), falling
SPACINGS: dict[str, Spacing] = {
    "guided_diffusion": _guided_diffusion,
    "guided_diffusion_ddim": _guided_diffusion_ddim,
    "quadratic": _quadratic,
    "linspace": _linspace,
    "leading": _leading,
    "trailing": _trailing,
}
# DPMSolverMultistepScheduler takes the first N of N + 1.
DPM_SPACINGS: dict[str, Spacing] = {
    "linspace": lambda steps, size: _linspace(steps + 1, size)[:-1],
    "leading": lambda steps, size: _leading(steps + 1, size)[:-1],
}


def _dpm_solver(grid: str, steps: int, alpha_bar: np.ndarray) -> np.ndarray:
    """N + 1 points (float64) of DPM-Solver's continuous time, (point + 1) / K, from 1 to 1 / K."""
    size = len(alpha_bar)
    if grid == "time_uniform":
        return np.linspace(size - 1, 0, steps + 1)
    if grid == "time_quadratic":
        chain = size * np.linspace(1, size**-0.5, steps + 1) ** 2 - 1
        return chain.clip(0, size - 1)  # its ends but for rounding
    log_alpha = np.log(alpha_bar) / 2
    half_log_snr = log_alpha - np.log1p(-alpha_bar) / 2
    even = np.linspace(half_log_snr[-1], half_log_snr[0], steps + 1)
    return np.interp(-np.logaddexp(0, -2 * even) / 2, log_alpha[::-1], np.arange(size)[::-1])
