"""Sampling methods: DDPM, DDIM, DPM-Solver++(2M) on the variance-preserving path; Euler, Heun, an SDE on the flow.

A method is a table of rows, one for each evaluation of the network, and the update that follows it.

Shapes: N samples, C channels, F frames, H height, W width.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import grids  # pyright: ignore[reportMissingImports]  # exports have a copy of diffusion/grids.py beside this
import numpy as np
import torch

Denoise = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (x_t, t (N,)) -> (N, C or 2C, F, H, W)
Row = dict[str, float]
CHAIN = 1000  # steps of the discrete chain of path "vp"
ALPHA_BAR = np.cumprod(1.0 - np.linspace(1e-4, 0.02, CHAIN))
SAMPLERS = {"flow": ("euler", "heun", "sde"), "vp": ("ddpm", "ddim", "dpmpp_2m")}


def flow_rows(
    sampler: str,
    steps: int,
    ratio: float,
    *,
    time_grid: str = "auto",
    last_step: str = "euler",
    size: float = 0.0,
) -> Iterator[Row]:
    """Rows of the path x_t = (1-t)·x0 + t·eps: time and length of each evaluation's step; see `grids`."""
    grid = grids.resolve(time_grid, sampler)
    grids.check_sde_last_step(last_step, size)
    if sampler == "sde":
        t = grids.sde_times(steps, ratio, last_step, size)
    else:
        t = grids.flow_times(grid, steps, ratio)
    for i, (now, after) in enumerate(itertools.pairwise(t)):
        last = i == len(t) - 2
        kind = last_step if last else "none"
        yield {
            "t": now,
            "h": now - after,
            "correct": False,
            "draws": kind == "none",
            "ode": kind in ("euler", "tweedie"),
        }
        if sampler == "heun" and not last:
            yield {"t": after, "h": now - after, "correct": True}


def flow_sample(
    denoise: Denoise, x: torch.Tensor, rows: list[Row], sampler: str, generator: torch.Generator
) -> torch.Tensor:
    """Data from noise x (N, C, F, H, W); the network predicts x0 - eps.

    Euler; Heun, whose last step is Euler's; Euler-Maruyama on the reverse SDE with w = 2t (arXiv 2401.08740).
    """
    start, first = x, x
    for row in rows:
        t, h = row["t"], row["h"]
        velocity = denoise(x, torch.full((len(x),), t))[:, : x.shape[1]]
        if row["correct"]:
            x = start + h * (first + velocity) / 2
            continue
        start, first = x, velocity
        if sampler != "sde" or row["ode"]:
            x = x + h * velocity
            continue
        eps = x - (1 - t) * velocity
        x = x + h * (velocity - eps)
        if row["draws"]:
            x = x + math.sqrt(2 * t * h) * torch.randn(x.shape, generator=generator)
    return x


def vp_rows(sampler: str, steps: int, *, time_grid: str = "auto") -> Iterator[Row]:
    """Rows of DiT's variance-preserving chain, from its noisiest step to the data; see `grids`."""
    chain = grids.vp_chain(grids.resolve(time_grid, sampler), sampler, steps, ALPHA_BAR)
    alpha_bar = grids.alpha_bar_at(chain, ALPHA_BAR)
    now, after = alpha_bar[:-1], alpha_bar[1:]
    beta = 1 - now / after
    variance = beta * (1 - after) / (1 - now)  # of the posterior; 0 in the last step, whose log is never used
    variance[-1] = variance[-2] if steps > 1 else beta[-1]
    to_data = chain[-1] < 0  # where the log-SNR is infinite
    known = alpha_bar[:-1] if to_data else alpha_bar
    half_log_snr = np.log(np.sqrt(known) / np.sqrt(1 - known))
    for i in range(steps):
        past = 0.0
        if 0 < i < steps - (to_data or steps < 10):
            past = (half_log_snr[i + 1] - half_log_snr[i]) / (2 * (half_log_snr[i] - half_log_snr[i - 1]))
        yield {
            "t": chain[i] / CHAIN,
            "alpha": math.sqrt(now[i]),
            "sigma": math.sqrt(1 - now[i]),
            "alpha_after": math.sqrt(after[i]),
            "sigma_after": math.sqrt(1 - after[i]),
            "x0_coefficient": beta[i] * math.sqrt(after[i]) / (1 - now[i]),
            "xt_coefficient": (1 - after[i]) * math.sqrt(1 - beta[i]) / (1 - now[i]),
            "log_variance": math.log(variance[i]),
            "log_beta": math.log(beta[i]),
            "past": past,
            "last": i == steps - 1,
        }


def vp_sample(
    denoise: Denoise,
    x: torch.Tensor,
    rows: list[Row],
    sampler: str,
    generator: torch.Generator,
    *,
    prediction: str,
    learn_variance: bool,
) -> torch.Tensor:
    """Data from noise x (N, C, F, H, W).

    DDPM (arXiv 2006.11239), DDIM (2010.02502) or DPM-Solver++(2M) (2211.01095).
    """
    channels, x0_before = x.shape[1], None
    for row in rows:
        alpha, sigma = row["alpha"], row["sigma"]
        output = denoise(x, torch.full((len(x),), row["t"]))
        value = output[:, :channels]
        if prediction == "eps":
            x0, eps = (x - sigma * value) / alpha, value
        elif prediction == "x0":
            x0, eps = value, (x - alpha * value) / sigma
        else:  # v = alpha·eps - sigma·x0
            x0, eps = alpha * x - sigma * value, sigma * x + alpha * value
        if sampler == "ddim":
            x = row["alpha_after"] * x0 + row["sigma_after"] * eps
        elif sampler == "dpmpp_2m":
            keep = row["sigma_after"] / sigma
            gain = row["alpha_after"] - alpha * keep
            extrapolated = x0 if x0_before is None else (1 + row["past"]) * x0 - row["past"] * x0_before
            x, x0_before = keep * x + gain * extrapolated, x0
        else:
            mean = row["x0_coefficient"] * x0 + row["xt_coefficient"] * x
            log_variance: Any = torch.tensor(row["log_beta"])
            if learn_variance:
                fraction = (output[:, channels:] + 1) / 2
                log_variance = fraction * row["log_beta"] + (1 - fraction) * row["log_variance"]
            noise = torch.randn(x.shape, generator=generator)
            x = mean if row["last"] else mean + torch.exp(log_variance / 2) * noise
    return x


def guided(
    network: Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor],
    condition: Any,
    null: Any,
    scale: float,
    interval: tuple[float, float],
    guided_channels: int = 0,
) -> Denoise:
    """Classifier-free guidance (arXiv 2207.12598) for t inside the interval, of the first channels (0 = all)."""
    if scale == 1:
        return lambda x, t: network(x, t, condition)

    def join(a: Any, b: Any) -> Any:
        return tuple(map(join, a, b)) if isinstance(a, tuple) else torch.cat([a, b])

    both = join(condition, null)

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        conditional, unconditional = network(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        low, high = torch.tensor(interval, dtype=t.dtype)  # rounded as t is: 0.3 is inside [0, 0.3]
        extra = scale - 1 if low <= t[0] <= high else 0.0
        channels = guided_channels or x.shape[1]
        direction = conditional[:, :channels] - unconditional[:, :channels]
        return torch.cat([conditional[:, :channels] + extra * direction, conditional[:, channels:]], dim=1)

    return denoise
