"""The paths against plain loops, and the forward process against the released one."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptdit_jax.diffusion import conversions, paths

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "rectified_flow.npz")
FLOW, VP = paths.PATHS["flow"], paths.PATHS["vp"]
ALL_STEPS = jnp.arange(1000) / 1000


def test_vp_schedule_is_the_product_of_linear_betas():
    alpha_bar, product = [], 1.0
    for i in range(1000):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * i / 999)
        alpha_bar.append(product)
    with jax.enable_x64(True):
        t = jnp.arange(1000) / 1000
        assert t.dtype == jnp.float64
        np.testing.assert_allclose(VP.alpha(t), np.sqrt(alpha_bar), rtol=1e-12)
        np.testing.assert_allclose(VP.sigma(t), np.sqrt(1 - np.array(alpha_bar)), rtol=1e-10)
    assert alpha_bar[-1] == pytest.approx(4.036e-5, rel=1e-3)  # the value known of this schedule


def test_vp_time_of_step_i_is_i_over_1000_in_float32():
    np.testing.assert_array_equal(VP.step(ALL_STEPS), np.arange(1000))
    np.testing.assert_array_equal(jax.jit(VP.step)(ALL_STEPS), np.arange(1000))
    assert VP.step(jnp.ones(1)) == 999  # pure noise is the last step
    assert ALL_STEPS.dtype == jnp.float32


@pytest.mark.parametrize("path", [FLOW, VP])
def test_noise_only_grows(path):
    t = ALL_STEPS[1:]
    assert (jnp.diff(path.sigma(t)) > 0).all()
    assert (jnp.diff(path.alpha(t)) < 0).all()
    expected = 2 * (jnp.log(path.alpha(t)) - jnp.log(path.sigma(t)))
    np.testing.assert_allclose(path.log_snr(t), expected, atol=1e-4)


def test_flow_ends_in_data_and_in_noise():
    x0, eps = np.random.default_rng(0).normal(size=(2, 2, 3, 1, 2, 2)).astype(np.float32)
    np.testing.assert_array_equal(paths.diffuse(FLOW, x0, eps, jnp.array([0.0, 1.0])), [x0[0], eps[1]])


def test_forward_process_matches_the_release():
    x_t = paths.diffuse(FLOW, GOLDEN["q_x0"], GOLDEN["q_noise"], jnp.asarray(GOLDEN["q_t"] / 1000))
    np.testing.assert_allclose(x_t, GOLDEN["q_xt"], atol=1e-6)


@pytest.mark.parametrize("chain", [range(1000), [0, 7, 300, 999], [412]])
def test_posterior_is_bayes_rule_on_any_chain(chain):
    """A Gaussian prior of the earlier x times the Gaussian likelihood of the later: precisions add."""
    alpha_bar = paths.ALPHA_BAR[np.array(chain)]
    found = paths.posterior(alpha_bar)
    previous = 1.0
    for k, now in enumerate(alpha_bar):
        keep = now / previous  # x_t = sqrt(keep) x_before + sqrt(1 - keep) noise
        likelihood = keep / (1 - keep)
        if previous < 1:  # else x_before is x0 itself
            prior = 1 / (1 - previous)
            precision = likelihood + prior
            assert found.xt_coefficient[k] == pytest.approx(math.sqrt(keep) / (1 - keep) / precision)
            assert found.x0_coefficient[k] == pytest.approx(math.sqrt(previous) * prior / precision)
            assert found.log_variance[k] == pytest.approx(-math.log(precision))
        else:
            assert (found.x0_coefficient[k], found.xt_coefficient[k]) == pytest.approx((1, 0))
            assert np.isfinite(found.log_variance[k])
        assert found.log_beta[k] == pytest.approx(math.log(1 - keep))
        previous = now


# Angles keep alpha and sigma away from 0, where "x0" or "eps" says nothing of the rest.


@pytest.mark.parametrize("source", conversions.PREDICTIONS)
@pytest.mark.parametrize("wanted", conversions.PREDICTIONS)
@given(angle=st.floats(0.02, math.pi / 2 - 0.02), flow=st.booleans(), seed=st.integers(0, 2**31))
def test_every_conversion_there_and_back_is_the_identity(source, wanted, angle, flow, seed):
    total = math.cos(angle) + math.sin(angle) if flow else 1
    alpha, sigma = math.cos(angle) / total, math.sin(angle) / total
    x0, eps = np.random.default_rng(seed).normal(size=(2, 5))
    x_t = alpha * x0 + sigma * eps

    value = conversions.target(source, x0, eps, alpha, sigma)
    other = conversions.convert(source, wanted, value, x_t, alpha, sigma)
    np.testing.assert_allclose(other, conversions.target(wanted, x0, eps, alpha, sigma), atol=1e-10)
    np.testing.assert_allclose(
        conversions.convert(wanted, source, other, x_t, alpha, sigma), value, atol=1e-10
    )


@pytest.mark.parametrize("source", conversions.PREDICTIONS)
@given(angle=st.floats(0.02, math.pi / 2 - 0.02), seed=st.integers(0, 2**31))
def test_conversions_hold_for_a_network_that_is_wrong(source, angle, seed):
    """Whatever a network says, the x0 and eps read from it make up x_t, and give back what it said."""
    alpha, sigma = math.cos(angle), math.sin(angle)
    value, x_t = np.random.default_rng(seed).normal(size=(2, 5))
    x0, eps = conversions.to_x0_eps(source, value, x_t, alpha, sigma)
    np.testing.assert_allclose(alpha * x0 + sigma * eps, x_t, atol=1e-10)
    np.testing.assert_allclose(conversions.target(source, x0, eps, alpha, sigma), value, atol=1e-10)


@pytest.mark.parametrize("prediction", conversions.PREDICTIONS)
def test_x0_error_scale_is_the_derivative(prediction):
    alpha, sigma = 0.3, 0.8
    to_x0 = lambda value: conversions.convert(prediction, "x0", value, 1.7, alpha, sigma)  # noqa: E731
    slope = (to_x0(2.5) - to_x0(1.5)) / 1
    assert conversions.x0_error_scale(prediction, alpha, sigma) == pytest.approx(slope)


def test_published_formulas():
    """Each prediction worked out by hand at alpha 0.6, sigma 0.8, x0 2, eps -1."""
    for prediction, expected in {"x0": 2.0, "eps": -1.0, "v": -2.2, "velocity": 3.0}.items():
        assert conversions.target(prediction, 2.0, -1.0, 0.6, 0.8) == pytest.approx(expected)
