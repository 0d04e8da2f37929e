"""The grids of published code against plain restatements of that code, for every number of steps."""

import numpy as np
import pytest

from ptdit_jax.diffusion import grids
from ptdit_jax.diffusion.paths import ALPHA_BAR

ALL = range(1, 1001)
LOG_ALPHA = 0.5 * np.log(ALPHA_BAR)


def chain(grid, steps, sampler="ddim"):
    """The points of a grid without the end."""
    points = grids.vp_chain(grid, sampler, steps, ALPHA_BAR)
    assert points.shape == (steps + 1,)
    return points[:-1].tolist()


def respaced(sections, size=1000):
    """guided-diffusion's `space_timesteps` for numbers of steps of equal sections, falling."""
    taken, start = set(), 0
    for i, count in enumerate(sections):
        length = size // len(sections) + (i < size % len(sections))
        stride = (length - 1) / (count - 1) if count > 1 else 1
        place = 0.0
        for _ in range(count):
            taken.add(start + round(place))
            place += stride
        start += length
    return sorted(taken, reverse=True)


def test_every_number_of_steps_is_respaced_as_in_guided_diffusion():
    assert respaced([10, 15, 20], 300)[-10:] == [
        99,
        88,
        77,
        66,
        55,
        44,
        33,
        22,
        11,
        0,
    ]  # its documented example
    assert [n for n in ALL if chain("guided_diffusion", n, "ddpm") != respaced([n])] == []
    assert chain("guided_diffusion", 1) == [0]


def test_even_steps_rounded_at_once_are_not_those():
    """What this would miss: 283 numbers of steps, by one step each."""
    differs = [n for n in ALL if np.round(np.linspace(999, 0, n)).tolist() != respaced([n])]
    assert len(differs) == 283


def test_every_whole_stride_is_guided_diffusions_ddim():
    possible = 0
    for n in ALL:
        strides = [s for s in range(1, 1000) if len(range(0, 1000, s)) == n]
        if strides:
            possible += 1
            assert chain("guided_diffusion_ddim", n) == list(range(0, 1000, strides[0]))[::-1]
        else:
            with pytest.raises(ValueError, match=f"sampling.steps is {n}; no whole stride takes as many"):
                chain("guided_diffusion_ddim", n)
    assert possible == 62
    with pytest.raises(ValueError, match="the nearest are 200 and 250"):
        chain("guided_diffusion_ddim", 260)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_diffusers_spacings(sampler):
    for n in ALL:
        assert chain("linspace", n, sampler) == np.linspace(0, 999, n).round()[::-1].tolist()
        assert chain("leading", n, sampler) == (np.arange(n) * (1000 // n)).round()[::-1].tolist()
        # Its arange has n + 1 numbers for some n: the last is step -1, which is the data.
        assert chain("trailing", n, sampler) == (np.round(np.arange(1000, 0, -1000 / n)) - 1)[:n].tolist()
    assert chain("trailing", 4, sampler) == [999, 749, 499, 249]
    assert chain("leading", 4, sampler) == [750, 500, 250, 0]


def test_diffusers_spacings_of_the_dpm_scheduler():
    for n in range(1, 1000):
        assert chain("linspace", n, "dpmpp_2m") == np.linspace(0, 999, n + 1).round()[::-1][:-1].tolist()
        assert chain("leading", n, "dpmpp_2m") == (np.arange(n + 1) * (1000 // (n + 1)))[::-1][:-1].tolist()
    assert chain("trailing", 20, "dpmpp_2m") == chain("trailing", 20, "ddim")
    for grid in ("linspace", "leading"):
        with pytest.raises(ValueError, match=r"sampling\.steps is 1000; .* has not as many different steps"):
            chain(grid, 1000, "dpmpp_2m")


@pytest.mark.parametrize("steps", [2, 5, 20, 50, 999])
def test_dpm_solvers_own_grids(steps):
    """Continuous time (step + 1) / 1000 from 1 to 0.001, log(alpha) linear between."""
    time = (np.arange(1000) + 1) / 1000
    half_log_snr = LOG_ALPHA - 0.5 * np.log(1 - np.exp(2 * LOG_ALPHA))
    even = np.linspace(half_log_snr[-1], half_log_snr[0], steps + 1)
    expected = {
        "time_uniform": np.linspace(1, 0.001, steps + 1),
        "time_quadratic": np.linspace(1, 0.001**0.5, steps + 1) ** 2,
        "logSNR": np.interp(-0.5 * np.log1p(np.exp(-2 * even)), LOG_ALPHA[::-1], time[::-1]),
    }
    for grid, times in expected.items():
        points = grids.vp_chain(grid, "dpmpp_2m", steps, ALPHA_BAR)
        np.testing.assert_allclose((points + 1) / 1000, times, rtol=0, atol=1e-12)
        log_alpha = np.interp(times, time, LOG_ALPHA)
        np.testing.assert_allclose(np.log(grids.alpha_bar_at(points, ALPHA_BAR)) / 2, log_alpha, rtol=1e-9)


def test_alpha_at_the_data_is_one():
    np.testing.assert_array_equal(
        grids.alpha_bar_at(np.array([999, 3, -1]), ALPHA_BAR), [ALPHA_BAR[999], ALPHA_BAR[3], 1]
    )


@pytest.mark.parametrize("ratio", [1.0, 3.0, 0.4])
@pytest.mark.parametrize("steps", [2, 28, 50])
def test_flow_grids(ratio, steps):
    move = lambda u: ratio * u / (1 + (ratio - 1) * u)  # noqa: E731
    # Stable Diffusion 3 and diffusers: sigmas of 1000 training times are shifted, and what lies between the ends again.
    sigmas = move(np.arange(1, 1001) / 1000)
    expected = [*move(np.linspace(sigmas.max(), sigmas.min(), steps)), 0]
    np.testing.assert_allclose(grids.flow_times("flow_match_euler", steps, ratio), expected, rtol=1e-12)
    np.testing.assert_allclose(
        grids.flow_times("sit", steps, ratio), move(1 - np.linspace(0, 1, steps)), rtol=1e-12
    )
    even = [move((steps - i) / steps) for i in range(steps + 1)]
    np.testing.assert_allclose(grids.flow_times("even", steps, ratio), even, rtol=1e-12)


def test_sde_times_end_before_the_last_step():
    np.testing.assert_allclose(
        grids.sde_times(250, 1.0, "mean", 0.04), [*(1 - np.linspace(0, 0.96, 250)), 0], rtol=1e-12
    )
    np.testing.assert_array_equal(grids.sde_times(7, 2.0, "mean", 0.0), grids.flow_times("even", 7, 2.0))
    shifted = grids.sde_times(7, 2.0, "mean", 0.3)
    assert (shifted[0], shifted[-2], shifted[-1]) == (1, pytest.approx(0.3), 0)
    np.testing.assert_allclose(
        np.diff(grids.shift(shifted[:-1], 0.5), 2), 0, atol=1e-12
    )  # even before the shift
    np.testing.assert_array_equal(grids.sde_times(7, 2.0, "none", 0.0), grids.flow_times("sit", 7, 2.0))


def test_auto_is_the_samplers_own():
    assert {sampler: grids.resolve("auto", sampler) for sampler in grids.GRIDS} == {
        "euler": "even",
        "heun": "even",
        "sde": "even",
        "ddpm": "guided_diffusion",
        "ddim": "guided_diffusion",
        "dpmpp_2m": "quadratic",
    }
    message = "sampling.time_grid is 'logSNR'; with sampling.sampler='ddpm' it must be one of auto, guided_diffusion,"
    with pytest.raises(ValueError, match=message):
        grids.resolve("logSNR", "ddpm")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grids.flow_times("sit", 1), "sampling.steps is 1; .*'sit' must be at least 2"),
        (lambda: grids.sde_times(1, 1.0, "mean", 0.04), "sampling.steps is 1; .* must be at least 2"),
        (lambda: grids.sde_times(1, 1.0, "none", 0.0), "sampling.steps is 1; .* must be at least 2"),
        (
            lambda: grids.check_sde_last_step("Mean", 0.0),
            "sde_last_step is 'Mean'; it must be one of euler, mean,",
        ),
        (lambda: grids.check_sde_last_step("mean", 1.0), "sde_last_step_size is 1.0; it must be in"),
        (lambda: grids.check_sde_last_step("mean", float("nan")), "sde_last_step_size is nan; it must be in"),
        (lambda: grids.check_sde_last_step("none", 0.1), "sde_last_step_size is 0.1; with .* it must be 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_diffusers_own_schedulers():
    """The same, asked of diffusers itself."""
    schedulers = pytest.importorskip("diffusers.schedulers")
    betas = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
    kinds = {"ddpm": "DDPMScheduler", "ddim": "DDIMScheduler", "dpmpp_2m": "DPMSolverMultistepScheduler"}
    for sampler, name in kinds.items():
        for grid in ("linspace", "leading", "trailing"):
            for steps in (1, 7, 20, 60, 333, 999):
                scheduler = getattr(schedulers, name)(**betas, timestep_spacing=grid)
                scheduler.set_timesteps(steps)
                assert chain(grid, steps, sampler) == scheduler.timesteps.tolist()
    for ratio in (1.0, 3.0):
        scheduler = schedulers.FlowMatchEulerDiscreteScheduler(shift=ratio)
        scheduler.set_timesteps(28)
        np.testing.assert_allclose(
            grids.flow_times("flow_match_euler", 28, ratio), scheduler.sigmas, atol=1e-7
        )
