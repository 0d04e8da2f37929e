"""Every sampler on a Gaussian: best denoiser, probability flow and reverse chain are known in closed form.

Data ~ N(MEAN, COVARIANCE) in four numbers laid out as (B, 2, 1, 1, 2).  The denoiser is affine, so that a
deterministic sampler is an affine map that five runs determine; the others are judged on many samples.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.common import get_config
from ptdit_jax import diffusion
from ptdit_jax.diffusion import conversions, grids, paths, samplers

FLOW = dict(get_config().diffusion)
VP = FLOW | {"path": "vp", "prediction": "eps", "times": "uniform"}
FIELDS = {"flow": FLOW, "vp": VP}
PATH_OF = {sampler: path for path, names in diffusion.SAMPLERS.items() for sampler in names}

KEY = jax.random.key(0)

MEAN = np.array([0.8, -0.5, 0.3, 1.2])
_ROOT = np.array([[1.0, 0, 0, 0], [0.5, 0.8, 0, 0], [-0.3, 0.4, 0.6, 0], [0.2, -0.5, 0.3, 0.9]])
COVARIANCE = _ROOT @ _ROOT.T  # eigenvalues from 0.14 to 1.7


def root(matrix):
    """The symmetric square root."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(values) @ vectors.T


def latents(rows):
    """(B, 4) to (B, 2, 1, 1, 2)."""
    return rows.reshape(-1, 2, 1, 1, 2)


def exact(objective, covariance=COVARIANCE, mean=MEAN):
    """The best network for the Gaussian: what it predicts comes from E[x0 | x_t].

    In the covariance's own axes that is a shrinkage of each number by alpha s^2 / (alpha^2 s^2 + sigma^2).
    """
    variances, axes = np.linalg.eigh(covariance)

    def denoise(x_t, t):
        dtype = x_t.dtype
        m, s2, v = (jnp.asarray(a, dtype) for a in (mean, variances, axes))
        alpha, sigma = objective.path.alpha(t)[:, None], objective.path.sigma(t)[:, None]
        inner = (x_t.reshape(-1, 4) - alpha * m) @ v
        x0 = m + (alpha * s2 / (alpha**2 * s2 + sigma**2) * inner) @ v.T
        alpha, sigma = paths.expand(alpha[:, 0], x_t), paths.expand(sigma[:, 0], x_t)
        return conversions.convert("x0", objective.prediction, latents(x0), x_t, alpha, sigma)

    return denoise


NOISE = latents(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))


def run(objective, sampler, steps, noise, key=KEY, denoise=None, **options):
    """The loop an entry point runs; one compile for all numbers of steps of an (objective, sampler)."""
    method = samplers.make_sampler(objective, sampler, steps=steps, **options)
    step = _step(objective, sampler, denoise)
    state = method.start(noise)
    for row in method.rows():
        state = step(key, state, row)
    return state.x


@functools.cache
def _step(objective, sampler, denoise):
    method = samplers.make_sampler(objective, sampler, steps=1)
    denoise = denoise or exact(objective)
    return jax.jit(lambda key, state, row: method.step(key, denoise, state, row))


def affine_map(objective, sampler, steps):
    """The sampler as x = A noise + b, read off five runs."""
    x = np.asarray(run(objective, sampler, steps, latents(jnp.eye(5, 4)))).reshape(5, 4)
    return (x[:4] - x[4]).T, x[4]


def exact_map(path):
    """What a sampler of the path tends to with ever more steps, as (A, b): the probability flow.

    On the VP path it ends at the chain's first step, sigma = 0.01, and the best x0 there.
    """
    if path == "flow":
        return root(COVARIANCE), MEAN
    spread = lambda k: paths.ALPHA_BAR[k] * COVARIANCE + (1 - paths.ALPHA_BAR[k]) * np.eye(4)  # noqa: E731
    flow = root(spread(0)) @ np.linalg.inv(root(spread(-1)))
    a = np.sqrt(paths.ALPHA_BAR[0]) * COVARIANCE @ np.linalg.inv(spread(0)) @ flow
    return a, MEAN - np.sqrt(paths.ALPHA_BAR[-1]) * a @ MEAN


@pytest.mark.parametrize(
    ("sampler", "order", "tolerance", "steps"),
    [
        ("euler", 1, 0.05, (20, 40, 80, 160)),
        ("heun", 2, 0.1, (20, 40, 80, 160)),
        ("ddim", 1, 0.05, (20, 40, 80, 160)),
        ("dpmpp_2m", 2, 0.3, (32, 64, 128)),  # its quadratic steps are whole numbers, so not quite halved
    ],
)
def test_error_falls_at_the_order_of_the_method(sampler, order, tolerance, steps):
    with jax.enable_x64(True):
        objective = diffusion.make(**FIELDS[PATH_OF[sampler]])
        true_a, true_b = exact_map(PATH_OF[sampler])
        errors = []
        for count in steps:
            a, b = affine_map(objective, sampler, count)
            errors.append(max(np.abs(a - true_a).max(), np.abs(b - true_b).max()))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    np.testing.assert_allclose(orders, order, atol=tolerance)


def error_of_samples(objective, sampler, steps, denoise=None, mean=MEAN, covariance=COVARIANCE):
    """Largest error of the mean and of the covariance over SAMPLES samples, float32."""
    key_noise, key = jax.random.split(jax.random.key(0))
    noise = latents(jax.random.normal(key_noise, (SAMPLES, 4)))
    x = np.asarray(run(objective, sampler, steps, noise, key, denoise), np.float64).reshape(-1, 4)
    return max(np.abs(x.mean(axis=0) - mean).max(), np.abs(np.cov(x.T) - covariance).max())


SAMPLES = 50_000
CHANCE = 3 * COVARIANCE.max() * (2 / SAMPLES) ** 0.5  # three standard errors of a sample's variance: 0.022


@pytest.mark.parametrize(
    ("sampler", "error"), [("euler", 0.065), ("heun", 0.001), ("ddim", 0.09), ("dpmpp_2m", 0.012)]
)
def test_50_steps_of_a_deterministic_sampler_recover_mean_and_covariance(sampler, error):
    """Errors of entries; variances are up to 1.2.  The VP's mean loses 0.01 to alpha = 0.006 at its start."""
    with jax.enable_x64(True):
        a, b = affine_map(diffusion.make(**FIELDS[PATH_OF[sampler]]), sampler, 50)
    np.testing.assert_allclose(b, MEAN, atol=error)
    np.testing.assert_allclose(a @ a.T, COVARIANCE, atol=error)


@pytest.mark.parametrize("sampler", ["sde", "ddpm"])
def test_error_of_a_stochastic_sampler_falls_with_steps(sampler):
    """Of first order in law: four times the steps, a quarter of the error, here less than half each time."""
    objective = diffusion.make(**FIELDS[PATH_OF[sampler]])
    errors = [error_of_samples(objective, sampler, steps) for steps in (3, 12, 50)]
    assert errors[1] < errors[0] / 2
    assert errors[2] < errors[1] / 2
    assert errors[2] < 0.01 + CHANCE


@pytest.mark.parametrize("steps", [4, 10])
def test_ddpm_with_the_right_learned_variance_is_exact_at_any_number_of_steps(steps):
    """For independent numbers each reverse step is a Gaussian whose variance the network can give.

    It lies between the bounds as long as the data's variance is below 1.
    """
    objective = diffusion.make(**VP | {"learn_variance": True})
    variances = np.array([0.05, 0.3, 0.6, 0.95])
    chain = [round(999 * k / (steps - 1)) for k in range(steps)]
    logits = np.zeros((1000, 4))
    for before, now in itertools.pairwise(chain):
        # x_now = sqrt(keep) x_before + noise, x_before ~ N(., spread): Bayes gives the variance of x_before.
        keep = paths.ALPHA_BAR[now] / paths.ALPHA_BAR[before]
        spread = paths.ALPHA_BAR[before] * variances + 1 - paths.ALPHA_BAR[before]
        wanted = 1 / (1 / spread + keep / (1 - keep))
        low = (1 - keep) * (1 - paths.ALPHA_BAR[before]) / (1 - paths.ALPHA_BAR[now])
        fraction = np.log(wanted / low) / np.log((1 - keep) / low)
        assert ((fraction > 0) & (fraction < 1)).all()
        logits[now] = 2 * fraction - 1

    best = exact(objective, np.diag(variances))

    def denoise(x_t, t):
        variance = latents(jnp.asarray(logits, jnp.float32)[objective.path.step(t)])
        return jnp.concatenate([best(x_t, t), variance], axis=1)

    # Left are chance, the last step's missing noise, and that the chain starts a little off standard noise.
    found = error_of_samples(objective, "ddpm", steps, denoise, covariance=np.diag(variances))
    assert found < 0.01 + 3 * (2 / SAMPLES) ** 0.5
    # With beta's variance instead, the same few steps are far off.
    plain = error_of_samples(diffusion.make(**VP), "ddpm", steps, best, covariance=np.diag(variances))
    assert plain > 3 * found


@pytest.mark.parametrize("sampler", diffusion.SAMPLERS["vp"])
def test_what_the_network_predicts_makes_no_difference(sampler):
    with jax.enable_x64(True):
        results = [
            run(
                diffusion.make(**VP | {"prediction": prediction}), sampler, 7, jnp.asarray(NOISE, jnp.float64)
            )
            for prediction in ("eps", "x0", "v")
        ]
    np.testing.assert_allclose(results[1], results[0], rtol=1e-9)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-9)


@pytest.mark.parametrize("sampler", PATH_OF)
@pytest.mark.parametrize("steps", [1, 5])
def test_the_network_is_compiled_once_and_evaluated_as_often_as_stated(sampler, steps):
    """`sample` equals the loop over `step`, and both end in data after `evaluations` calls."""
    objective = diffusion.make(**FIELDS[PATH_OF[sampler]])
    best, traces, evaluated = exact(objective), [], []

    def denoise(x_t, t):
        traces.append(t.shape)
        jax.debug.callback(lambda t: evaluated.append(float(t[0])), t)
        return best(x_t, t)

    x = jax.jit(lambda: samplers.sample(KEY, denoise, NOISE, objective, sampler=sampler, steps=steps))()
    jax.effects_barrier()
    assert traces == [(5,)]
    method = samplers.make_sampler(objective, sampler, steps=steps)
    assert len(evaluated) == method.evaluations == (2 * steps - 1 if sampler == "heun" else steps)
    assert evaluated == sorted(evaluated, reverse=True)
    np.testing.assert_allclose(evaluated, method.table["t"], rtol=1e-6)
    np.testing.assert_allclose(x, run(objective, sampler, steps, NOISE), atol=1e-5)
    if steps == 1 and sampler not in ("ddpm", "ddim"):  # from noise there is one guess: the mean
        np.testing.assert_allclose(x.reshape(5, 4), np.tile(MEAN, (5, 1)), atol=0.03)


@pytest.mark.parametrize("sampler", PATH_OF)
def test_only_random_samplers_use_the_key(sampler):
    objective = diffusion.make(**FIELDS[PATH_OF[sampler]])
    first, second, again = (run(objective, sampler, 4, NOISE, jax.random.key(k)) for k in (0, 1, 0))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, second) == (sampler not in ("sde", "ddpm"))


def test_a_compiled_step_serves_any_number_of_steps():
    objective = diffusion.make(**FLOW)
    step = _step(objective, "euler", None)
    noise = latents(jnp.ones((7, 4)))
    run(objective, "euler", 2, noise)
    before = step._cache_size()
    run(objective, "euler", 30, noise)
    assert step._cache_size() == before


def test_unused_output_channels_of_a_released_network_change_nothing():
    objective = diffusion.make(**FLOW)
    best = exact(objective)
    doubled = run(
        objective, "euler", 4, NOISE, denoise=lambda x, t: jnp.concatenate([best(x, t), 9 * x], axis=1)
    )
    np.testing.assert_allclose(doubled, run(objective, "euler", 4, NOISE), rtol=1e-6)


def test_flow_samplers_walk_the_shifted_times():
    size = {"height_px": 1024, "width_px": 1024, "latent_frames": 1, "pixel_frames": 1}
    objective = diffusion.make(**FLOW | {"shift": "latent_frames"}, **size)
    table = samplers.make_sampler(objective, "euler", steps=4).table
    np.testing.assert_allclose(table["t"], [1, 6 / 7, 2 / 3, 0.4])
    assert table["h"].sum() == pytest.approx(1)


def test_vp_steps():
    """DiT's respacing for DDPM and DDIM (test_grids.py has all of it); the squares for DPM-Solver++, all different."""
    objective = diffusion.make(**VP)
    chain = lambda sampler, steps: (  # noqa: E731
        np.round(samplers.make_sampler(objective, sampler, steps=steps).table["t"] * 1000)
        .astype(int)
        .tolist()
    )
    for sampler in diffusion.SAMPLERS["vp"]:
        for steps in (1, 2, 50, 250, 999, 1000):
            steps_taken = chain(sampler, steps)
            assert len(steps_taken) == steps
            first = 0 if steps == 1 and sampler != "dpmpp_2m" else 999
            assert steps_taken[0] == first
            assert steps == 1 or steps_taken[-1] == 0
            assert (np.diff(steps_taken) < 0).all()
    assert chain("ddim", 8) == [999, 856, 714, 571, 428, 285, 143, 0]
    assert chain("ddpm", 21)[10] == 499  # of 499.5, summed up from strides; numpy's linspace has 500
    assert chain("dpmpp_2m", 4) == [999, 444, 111, 0]


def sit_sde(velocity, x, noises, *, last_step, last_step_size):
    """SiT's SDE sampler in its own time, 0 at noise: linear path, diffusion "sigma", norm 1, Euler-Maruyama."""
    end = 1.0 if last_step is None else 1 - last_step_size
    times = np.linspace(0, end, len(noises) + 1)
    dt = times[1] - times[0]

    def score(x, time):
        # With alpha = time and sigma = 1 - time, from v = d alpha x1 + d sigma x0.
        variance = (1 - time) ** 2 + time * (1 - time)
        return (time * velocity(x, time) - x) / variance

    def drift(x, time):
        return velocity(x, time) + (1 - time) * score(x, time)

    for time, noise in zip(times[:-1], noises, strict=True):
        x = x + drift(x, time) * dt + np.sqrt(2 * (1 - time) * dt) * noise
    if last_step == "Mean":
        return x + drift(x, end) * last_step_size
    if last_step == "Euler":
        return x + velocity(x, end) * last_step_size
    if last_step == "Tweedie":
        return x / end + (1 - end) ** 2 / end * score(x, end)
    return x


@pytest.mark.parametrize(
    ("theirs", "ours", "size"),
    [
        ("Mean", "mean", 0.04),
        ("Mean", "mean", 0.2),
        ("Euler", "euler", 0.04),
        ("Tweedie", "tweedie", 0.04),
        ("Mean", "mean", 0.0),  # of an even step
        ("Euler", "euler", 0.0),  # what we do unasked
        (None, "none", 0.0),
    ],
)
@pytest.mark.parametrize("steps", [2, 25])
def test_the_sde_sampler_is_sits(theirs, ours, size, steps):
    """The same numbers from the same noise; of `steps` one is the last step, or the one that is left out."""
    with jax.enable_x64(True):
        objective = diffusion.make(**FLOW)
        best = jax.jit(exact(objective))
        noise = jnp.asarray(NOISE, jnp.float64)
        draws = [
            jax.random.normal(jax.random.fold_in(KEY, i), noise.shape, noise.dtype) for i in range(steps - 1)
        ]

        def velocity(x, time):
            return np.asarray(best(jnp.asarray(x), jnp.full(len(x), 1 - time)))

        start, end = NOISE.astype(float), size or 1 / steps
        expected = sit_sde(velocity, start, draws, last_step=theirs, last_step_size=end)
        options = {"sde_last_step": ours, "sde_last_step_size": size}
        found = run(objective, "sde", steps, noise, **options)
        assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    table = samplers.make_sampler(objective, "sde", steps=steps, **options).table
    assert len(table["t"]) == steps - (theirs is None)
    unasked = samplers.make_sampler(objective, "sde", steps=steps).table
    same = len(table["t"]) == steps and all(np.array_equal(table[name], unasked[name]) for name in table)
    assert same == ((ours, size) == ("euler", 0))


def dpm_solver(eps, x, times, log_alpha_at):
    """DPM-Solver++ in two steps as its authors' code has it, from time to time, in its continuous time."""
    alpha = [np.exp(log_alpha_at(s)) for s in times]
    sigma = [np.sqrt(1 - a**2) for a in alpha]
    half_log_snr = [np.log(a / s) for a, s in zip(alpha, sigma, strict=True)]
    steps, models = len(times) - 1, []
    for i in range(steps):
        models.append((x - sigma[i] * eps(x, (times[i] - 0.001) * 1000)) / alpha[i])
        h = half_log_snr[i + 1] - half_log_snr[i]
        following = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * np.expm1(-h) * models[i]
        if i > 0 and not (steps < 10 and i == steps - 1):
            r = (half_log_snr[i] - half_log_snr[i - 1]) / h
            following -= 0.5 * alpha[i + 1] * np.expm1(-h) * (models[i] - models[i - 1]) / r
        x = following
    return x


def bent(x, t, sin=jnp.sin):
    """A network that is neither linear nor defined at whole steps only."""
    return 0.8 * x + 0.3 * sin(1000 * t.reshape(-1, 1, 1, 1, 1) / 70) * x**2


@pytest.mark.parametrize("grid", ["time_uniform", "logSNR", "time_quadratic"])
@pytest.mark.parametrize("steps", [2, 6, 20])
def test_dpm_solver_on_its_own_grids(grid, steps):
    """PixArt's published samples are of time_uniform; the network sees steps between the whole ones."""
    log_alpha = 0.5 * np.log(paths.ALPHA_BAR)
    points = grids.vp_chain(grid, "dpmpp_2m", steps, paths.ALPHA_BAR)
    expected = dpm_solver(
        lambda x, step: bent(x, np.full(1, step / 1000), np.sin),
        0.3 * NOISE.astype(float),
        (points + 1) / 1000,
        lambda time: np.interp(1000 * time - 1, np.arange(1000), log_alpha),
    )
    with jax.enable_x64(True):
        noise = 0.3 * jnp.asarray(NOISE, jnp.float64)
        found = run(diffusion.make(**VP), "dpmpp_2m", steps, noise, denoise=bent, time_grid=grid)
    np.testing.assert_allclose(found, expected, rtol=1e-8)


@pytest.mark.parametrize(
    "grid", ["guided_diffusion_ddim", "linspace", "leading", "trailing", "quadratic", "logSNR"]
)
def test_ddim_goes_from_each_time_of_its_grid_to_the_next(grid):
    with jax.enable_x64(True):
        noise = 0.3 * jnp.asarray(NOISE, jnp.float64)
        found = run(diffusion.make(**VP), "ddim", 5, noise, denoise=bent, time_grid=grid)
    points = grids.vp_chain(grid, "ddim", 5, paths.ALPHA_BAR)
    assert points[-1] == (0 if grid == "logSNR" else -1)
    x = 0.3 * NOISE.astype(float)
    for now, after in itertools.pairwise(points):
        old, new = (
            1.0 if k < 0 else np.exp(np.interp(k, np.arange(1000), np.log(paths.ALPHA_BAR)))
            for k in (now, after)
        )
        eps = bent(x, np.full(1, now / 1000), np.sin)
        x = np.sqrt(new) * (x - np.sqrt(1 - old) * eps) / np.sqrt(old) + np.sqrt(1 - new) * eps
    np.testing.assert_allclose(found, x, rtol=1e-9)


@pytest.mark.parametrize("sampler", PATH_OF)
def test_every_grid_of_a_sampler_ends_in_data(sampler):
    """No NaN, and with enough steps the mean."""
    objective = diffusion.make(**FIELDS[PATH_OF[sampler]])
    for grid in grids.GRIDS[sampler]:
        x = np.asarray(run(objective, sampler, 50, latents(jnp.eye(5, 4)), time_grid=grid)).reshape(5, 4)
        assert np.isfinite(x).all(), grid
        if sampler not in ("sde", "ddpm"):  # the sample of zero noise
            np.testing.assert_allclose(x[4], MEAN, atol=0.1, err_msg=grid)


def test_errors():
    flow, vp = diffusion.make(**FLOW), diffusion.make(**VP)
    for objective, sampler in [(flow, "ddim"), (vp, "euler"), (vp, "none")]:
        with pytest.raises(ValueError, match=r"sampling\.sampler is .* sampled with one of"):
            samplers.make_sampler(objective, sampler, steps=5)
    with pytest.raises(ValueError, match=r"sampling\.time_grid is 'linspace'; with .*'euler' it must be"):
        samplers.make_sampler(flow, "euler", steps=5, time_grid="linspace")
    for options in ({"sde_last_step": "last"}, {"sde_last_step": "mean", "sde_last_step_size": -0.1}):
        with pytest.raises(ValueError, match=r"sampling\.sde_last_step"):
            samplers.make_sampler(flow, "sde", steps=5, **options)
    for objective, steps in [(flow, 0), (vp, 0), (vp, 1001)]:
        with pytest.raises(ValueError, match=f"sampling.steps is {steps}"):
            samplers.make_sampler(
                objective, diffusion.SAMPLERS["vp" if objective is vp else "flow"][0], steps=steps
            )
