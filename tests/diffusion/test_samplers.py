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
from ptdit_jax.diffusion import conversions, paths, samplers

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


def run(objective, sampler, steps, noise, key=KEY, denoise=None):
    """The loop an entry point runs; one compile for all numbers of steps of an (objective, sampler)."""
    method = samplers.make_sampler(objective, sampler, steps=steps)
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
    if steps == 1:  # from noise there is one guess: the mean
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
    """DiT's respacing for DDPM and DDIM; the squares for DPM-Solver++, all different up to all 1000 steps."""
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
            assert steps_taken[0] == 999
            assert steps == 1 or steps_taken[-1] == 0
            assert (np.diff(steps_taken) < 0).all()
    assert chain("ddim", 8) == [999, 856, 714, 571, 428, 285, 143, 0]
    assert chain("dpmpp_2m", 4) == [999, 444, 111, 0]


def test_errors():
    flow, vp = diffusion.make(**FLOW), diffusion.make(**VP)
    for objective, sampler in [(flow, "ddim"), (vp, "euler"), (vp, "none")]:
        with pytest.raises(ValueError, match=r"sampling\.sampler is .* sampled with one of"):
            samplers.make_sampler(objective, sampler, steps=5)
    for objective, steps in [(flow, 0), (vp, 0), (vp, 1001)]:
        with pytest.raises(ValueError, match=f"sampling.steps is {steps}"):
            samplers.make_sampler(
                objective, diffusion.SAMPLERS["vp" if objective is vp else "flow"][0], steps=steps
            )
