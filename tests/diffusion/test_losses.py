"""The objective against the released loss, loops over scalars in float64, and numerical integrals."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from configs.common import get_config
from ptdit_jax import diffusion
from ptdit_jax.diffusion import conversions, losses, paths

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "rectified_flow.npz")
FLOW = dict(get_config().diffusion)
VP = FLOW | {"path": "vp", "prediction": "eps", "times": "uniform"}
SHAPE = (5, 2, 1, 2, 3)
STEPS = np.array([0, 1, 30, 500, 999])


def inputs(seed=0, dtype=np.float64):
    """x0, eps and a network output of 2C channels."""
    rng = np.random.default_rng(seed)
    x0 = np.clip(rng.normal(size=SHAPE) * 0.7, -1, 1).astype(dtype)
    x0[0, 0, 0, 0, :2] = -1, 1  # both outermost bins
    return x0, rng.normal(size=SHAPE).astype(dtype), rng.normal(size=(5, 4, 1, 2, 3)).astype(dtype)


def test_flow_loss_matches_the_release():
    """8 channels come out, the first 4 are the prediction."""
    loss, metrics = diffusion.make(**FLOW).loss_at(
        lambda x, t: jnp.asarray(GOLDEN["train_pred"]),
        jnp.asarray(GOLDEN["q_x0"]),
        jnp.asarray(GOLDEN["q_noise"]),
        jnp.asarray(GOLDEN["q_t"] / 1000),
    )
    np.testing.assert_allclose(loss, GOLDEN["train_loss"], rtol=1e-6)
    assert metrics["mse"] == pytest.approx(GOLDEN["train_loss"].mean(), rel=1e-6)


@pytest.mark.parametrize("fields", [FLOW, *(VP | {"prediction": p} for p in ("eps", "x0", "v"))])
def test_loss_draws_what_it_says(fields):
    """A network that knows the data has no loss; times are fresh with each key, and those of the path."""
    objective = diffusion.make(**fields)
    x0 = jnp.asarray(inputs()[0], jnp.float32)
    seen = []

    def perfect(x_t, t):
        seen.append(t)
        alpha, sigma = (paths.expand(f(t), x0) for f in (objective.path.alpha, objective.path.sigma))
        return conversions.convert("x0", objective.prediction, x0, x_t, alpha, sigma)

    loss, metrics = objective.loss(jax.random.key(0), perfect, x0)
    assert loss.shape == (5,)
    assert loss.dtype == jnp.float32
    assert list(metrics) == ["mse"]
    # "eps" and "v" divide by sigma, down to 0.01, what float32 rounds in x_t
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    objective.loss(jax.random.key(1), perfect, x0)
    assert len(set(np.concatenate(seen).tolist())) == 10
    if fields["path"] == "vp":
        np.testing.assert_allclose(np.concatenate(seen) * 1000 % 1, 0, atol=1e-4)


def test_flow_times_are_shifted():
    key = jax.random.key(0)
    size = {"height_px": 2048, "width_px": 2048, "latent_frames": 1, "pixel_frames": 1}
    plain = diffusion.make(**FLOW).draw_times(key, 1000)
    shifted = diffusion.make(**FLOW | {"shift": "latent_frames"}, **size).draw_times(key, 1000)
    np.testing.assert_allclose(shifted, 4 * plain / (1 + 3 * plain), rtol=1e-5)
    assert diffusion.make(**FLOW | {"times": "uniform"}).draw_times(key, 9).shape == (9,)


@pytest.mark.parametrize("fields", [FLOW, *(VP | {"prediction": p} for p in ("eps", "x0", "v"))])
def test_min_snr_clips_the_weight_of_the_error_of_x0(fields):
    """Whatever is predicted, the weighted loss is min(SNR, gamma) times the mean squared error of x0."""
    with jax.enable_x64(True):
        objective = diffusion.make(**fields | {"weighting": "min_snr", "min_snr_gamma": 5.0})
        x0, eps, output = (jnp.asarray(a) for a in inputs())
        t = jnp.array([0.001, 0.2, 0.4, 0.7, 0.999])
        prediction = output[:, :2]
        loss, _ = objective.loss_at(lambda x_t, t: prediction, x0, eps, t)
        alpha, sigma = objective.path.alpha(t), objective.path.sigma(t)
        snr = np.asarray(alpha / sigma) ** 2
        assert (snr > 5).any()
        assert (snr < 5).any()
        alpha, sigma = paths.expand(alpha, x0), paths.expand(sigma, x0)
        x_t = alpha * x0 + sigma * eps
        predicted = conversions.convert(objective.prediction, "x0", prediction, x_t, alpha, sigma)
        expected = np.minimum(snr, 5) * np.mean((predicted - x0) ** 2, axis=(1, 2, 3, 4))
        np.testing.assert_allclose(loss, expected, rtol=1e-9)


def test_min_snr_weights_as_published():
    alpha, sigma = np.sqrt(0.9), np.sqrt(0.1)  # SNR 9
    for gamma, clipped in ((5.0, 5.0), (20.0, 9.0)):
        weight = lambda prediction, g=gamma: losses.min_snr_weight(prediction, alpha, sigma, g)  # noqa: E731
        assert weight("x0") == pytest.approx(clipped)
        assert weight("eps") == pytest.approx(clipped / 9)
        assert weight("v") == pytest.approx(clipped / 10)
    ends = jnp.array([0.0, 1.0])  # of the flow: SNR infinite and 0
    np.testing.assert_array_equal(losses.min_snr_weight("velocity", 1 - ends, ends, 5.0), [0, 0])


def chain(step):
    """beta, alpha_bar and alpha_bar of the step before, by a loop."""
    alpha_bar = before = beta = 1.0
    for i in range(step + 1):
        beta = 1e-4 + (0.02 - 1e-4) * i / 999
        before, alpha_bar = alpha_bar, alpha_bar * (1 - beta)
    return beta, alpha_bar, before


def integral_of_kl(mean, std, other_mean, other_std):
    """KL of two normals in nats, integrated over 12 standard deviations."""
    x = np.linspace(mean - 12 * std, mean + 12 * std, 4001)
    p = stats.norm.pdf(x, mean, std)
    ratio = stats.norm.logpdf(x, mean, std) - stats.norm.logpdf(x, other_mean, other_std)
    return np.trapezoid(p * ratio, x)


def brute_force_vlb(x0, x_t, predicted_x0, variance, step):
    """The term of one number, in bits, as the papers write it."""
    beta, alpha_bar, before = chain(step)

    def mean(x0):
        return (beta * math.sqrt(before) * x0 + (1 - before) * math.sqrt(1 - beta) * x_t) / (1 - alpha_bar)

    if step == 0:
        next_beta, next_alpha_bar, next_before = chain(1)
        least = next_beta * (1 - next_before) / (1 - next_alpha_bar)
    else:
        least = beta * (1 - before) / (1 - alpha_bar)
    fraction = (variance + 1) / 2
    std = math.sqrt(beta**fraction * least ** (1 - fraction))
    if step > 0:
        return integral_of_kl(mean(x0), math.sqrt(least), mean(predicted_x0), std) / math.log(2)
    low = -np.inf if x0 < -0.999 else x0 - 1 / 255
    high = np.inf if x0 > 0.999 else x0 + 1 / 255
    bin_probability = stats.norm.cdf(high, mean(predicted_x0), std) - stats.norm.cdf(
        low, mean(predicted_x0), std
    )
    return -math.log(max(bin_probability, 1e-12)) / math.log(2)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_hybrid_loss_against_integrals(prediction):
    """Simple loss plus the bound's term, every number of it by a numerical integral in float64."""
    with jax.enable_x64(True):
        objective = diffusion.make(**VP | {"prediction": prediction, "learn_variance": True})
        x0, eps, output = inputs()
        t = jnp.asarray(STEPS / 1000)
        alpha, sigma = (
            np.asarray(paths.expand(f(t), x0)) for f in (objective.path.alpha, objective.path.sigma)
        )
        x_t = alpha * x0 + sigma * eps
        # Close to the truth, as a trained network is, so that the decoder's probability is not all clipped.
        predicted_x0 = x0 + 0.01 * output[:, :2]
        output[:, :2] = conversions.convert("x0", prediction, predicted_x0, x_t, alpha, sigma)
        loss, metrics = objective.loss_at(lambda x, t: jnp.asarray(output), *map(jnp.asarray, (x0, eps)), t)

    terms = np.zeros(SHAPE)
    for index in np.ndindex(SHAPE):
        values = (a[index] for a in (x0, x_t, predicted_x0, output[:, 2:]))
        terms[index] = brute_force_vlb(*values, STEPS[index[0]])
    vlb = terms.mean(axis=(1, 2, 3, 4))
    target = conversions.target(prediction, x0, eps, alpha, sigma)
    simple = ((output[:, :2] - target) ** 2).mean(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(loss, simple + vlb, rtol=1e-6)
    assert metrics["vlb"] == pytest.approx(vlb.mean(), rel=1e-6)
    assert metrics["mse"] == pytest.approx(simple.mean(), rel=1e-6)


def test_hybrid_loss_in_float32_is_close_to_float64():
    def loss(dtype):
        objective = diffusion.make(**VP | {"learn_variance": True})
        x0, eps, output = (jnp.asarray(a) for a in inputs(dtype=dtype))
        output = output.at[:, :2].set(eps + 0.05 * output[:, :2])
        t = jnp.asarray((STEPS / 1000).astype(dtype))
        found, _ = jax.jit(lambda: objective.loss_at(lambda x, t: output, x0, eps, t))()
        assert found.dtype == dtype
        return np.asarray(found)

    single = loss(np.float32)
    with jax.enable_x64(True):
        np.testing.assert_allclose(single, loss(np.float64), rtol=1e-4)


def test_vlb_trains_the_variance_alone():
    """The hybrid loss has the simple loss's gradient on the prediction, and one on the variance."""
    x0, eps, output = (jnp.asarray(a, jnp.float32) for a in inputs())
    output = output.at[:, :2].set(eps + 0.05 * output[:, :2])
    t = jnp.asarray(STEPS / 1000, jnp.float32)

    def gradient(learn_variance):
        objective = diffusion.make(**VP | {"learn_variance": learn_variance})
        return jax.jit(jax.grad(lambda o: objective.loss_at(lambda x, t: o, x0, eps, t)[0].sum()))(output)

    simple, hybrid = gradient(False), gradient(True)
    np.testing.assert_array_equal(hybrid[:, :2], simple[:, :2])
    np.testing.assert_array_equal(simple[:, 2:], 0)
    assert jnp.isfinite(hybrid).all()
    assert (hybrid[1:, 2:] != 0).all()


def test_variance_is_interpolated_in_the_log():
    variance = jnp.array([-1.0, 0.0, 1.0])
    found = losses.log_variance_between(variance, jnp.log(0.01), jnp.log(0.04))
    np.testing.assert_allclose(jnp.exp(found), [0.01, 0.02, 0.04], rtol=1e-5)


def test_decoder_is_a_distribution_over_the_256_bins():
    """At any mean and width the bins' probabilities add up to 1."""
    x0 = jnp.linspace(-1, 1, 256)
    for mean, std in [(0.0, 0.01), (0.93, 0.3), (-1.2, 0.05)]:
        log_p = losses.log_likelihood_of_bin(x0, x0 - mean, jnp.full(256, 2 * math.log(std)))
        assert jnp.exp(log_p).sum() == pytest.approx(1, abs=1e-5)


def test_channels_that_do_not_fit_are_named():
    x0, eps, output = (jnp.asarray(a, jnp.float32) for a in inputs())
    t = jnp.full(5, 0.5)
    with pytest.raises(ValueError, match=r"3 channels; data of 2 channels .* need 2 or 4"):
        diffusion.make(**FLOW).loss_at(lambda x, t: output[:, :3], x0, eps, t)
    with pytest.raises(ValueError, match=r"2 channels; data of 2 channels .* need 4"):
        diffusion.make(**VP | {"learn_variance": True}).loss_at(lambda x, t: output[:, :2], x0, eps, t)
