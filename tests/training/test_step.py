"""The step as a pure function, on a linear model whose gradients are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import c2i_digits, common
from ptdit_jax import config as rules
from ptdit_jax.training import denoising, optimizer, state, step

B, D = 12, 3
DECAYS = (0.9, 0.5, 0.99)  # not in the order of their names
KEY = jax.random.key(7)


def draw(key, batch):
    return batch | {"noise": 0.1 * jax.random.normal(key, batch["x"].shape)}


def loss(params, inputs):
    error = (inputs["x"] + inputs["noise"]) @ params["kernel"] + params["bias"] - inputs["y"]
    return jnp.mean(error**2), {"mean_error": error.mean()}


def setup(accumulate=1, explode_factor=0.0, **fields):
    """A state, its jitted step and a batch."""
    settings = common.get_config().optimizer
    settings.update({"learning_rate": 0.05, "clip_norm": 0.0, **fields})
    direction = optimizer.make_direction(settings)
    params = {"kernel": jnp.ones((D,)), "bias": jnp.zeros(())}
    function = step.make_step(
        draw,
        loss,
        direction,
        optimizer.make_schedule(settings, 100),
        ema_decays=DECAYS,
        accumulate=accumulate,
        explode_factor=explode_factor,
    )
    x = jax.random.normal(jax.random.key(1), (B, D))
    batch = {"x": x, "y": x @ jnp.array([1.0, -2.0, 0.5]) + 3}
    return state.create(params, direction, DECAYS), jax.jit(function), batch


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("accumulate", [2, 3, 12])
def test_micro_batches_are_one_big_batch(accumulate):
    big, big_step, batch = setup()
    small, small_step, _ = setup(accumulate=accumulate)
    for _ in range(5):
        big, big_metrics = big_step(big, batch, KEY)
        small, small_metrics = small_step(small, batch, KEY)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6), big, small)
    for name, value in big_metrics.items():
        np.testing.assert_allclose(value, small_metrics[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_averages_are_those_of_a_float64_loop():
    now, advance, batch = setup()
    wanted = {decay: {name: np.float64(p) for name, p in now.params.items()} for decay in DECAYS}
    for _ in range(50):
        now, _ = advance(now, batch, KEY)
        for decay, ema in wanted.items():
            for name, value in now.params.items():
                ema[name] = decay * ema[name] + (1 - decay) * np.float64(value)
    for decay, ema in wanted.items():
        for name, value in ema.items():
            np.testing.assert_allclose(now.emas[f"ema_{decay}"][name], value, rtol=1e-5)


def test_the_gradient_norm_is_that_before_clipping_and_the_step_that_after():
    now, advance, batch = setup(clip_norm=0.1, b1=0.0, b2=0.0, eps=100.0)  # so a step is gradient / 100
    after, metrics = advance(now, batch, KEY)
    gradient = jax.grad(lambda p: loss(p, draw(jax.random.fold_in(KEY, 0), batch))[0])(now.params)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in gradient.values()))
    assert norm > 1
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)
    moved = np.sqrt(sum(np.sum(np.square(after.params[k] - now.params[k])) for k in gradient))
    np.testing.assert_allclose(moved, 0.05 * 0.1 / 100, rtol=0.02)


def test_metrics_of_a_step():
    now, advance, batch = setup(warmup_steps=10)
    after, metrics = advance(now, batch, KEY)
    assert set(metrics) == {"loss", "grad_norm", "param_norm", "learning_rate", "skipped", "mean_error"}
    assert all(m.shape == () and m.dtype == jnp.float32 for m in metrics.values())
    np.testing.assert_allclose(metrics["param_norm"], np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(metrics["learning_rate"], 0.005, rtol=1e-6)
    assert metrics["skipped"] == 0
    assert after.step == 1
    np.testing.assert_allclose(advance(after, batch, KEY)[1]["learning_rate"], 0.01, rtol=1e-6)


def test_randomness_is_a_function_of_key_and_step():
    now, advance, batch = setup()
    (one, metrics), (two, _) = advance(now, batch, KEY), advance(now, batch, KEY)
    assert_equal(one, two)
    assert advance(now, batch, jax.random.key(8))[1]["loss"] != metrics["loss"]
    later = state.TrainState(now.step + 1, now.params, now.opt_state, now.emas, now.guard)
    assert advance(later, batch, KEY)[1]["loss"] != metrics["loss"]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e30])  # the square of the last overflows
def test_a_bad_step_changes_nothing_but_its_number(poison, accumulate):
    now, advance, batch = setup(accumulate=accumulate)
    now, _ = advance(now, batch, KEY)
    after, metrics = advance(now, batch | {"y": batch["y"].at[4].set(poison)}, KEY)
    assert metrics["skipped"] == 1
    assert not np.isfinite(metrics["loss"])
    assert_equal(after, state.TrainState(now.step + 1, now.params, now.opt_state, now.emas, now.guard))
    after, metrics = advance(after, batch, KEY)  # and the next one is as good as ever
    assert metrics["skipped"] == 0
    assert np.isfinite(metrics["loss"])


def test_an_exploding_loss_is_bad_once_there_is_a_mean_to_compare_with():
    now, advance, batch = setup(explode_factor=10.0)
    far = batch | {"y": batch["y"] * 100}
    assert advance(now, far, KEY)[1]["skipped"] == 0
    for _ in range(3):
        now, metrics = advance(now, batch, KEY)
        assert metrics["skipped"] == 0
    after, metrics = advance(now, far, KEY)
    assert metrics["skipped"] == 1
    assert metrics["loss"] > 10 * (now.guard.weighted / now.guard.weight)
    assert_equal(after.params, now.params)
    assert_equal(after.guard, now.guard)
    off, unguarded, _ = setup(explode_factor=0.0)
    off, _ = unguarded(off, batch, KEY)
    assert unguarded(off, far, KEY)[1]["skipped"] == 0


def test_the_guard_keeps_an_unbiased_running_mean():
    now, advance, batch = setup(explode_factor=1e3)
    losses = []
    for _ in range(8):
        now, metrics = advance(now, batch, KEY)
        losses.append(float(metrics["loss"]))
    weights = 0.99 ** np.arange(8)[::-1]
    np.testing.assert_allclose(
        now.guard.weighted / now.guard.weight, np.average(losses, weights=weights), rtol=1e-5
    )


def denoiser(params, x, t, label, keys):
    """A network of two parameters that uses all it is given."""
    shift = params["shift"] * (t + 0.1 * (0 if label is None else label))
    return params["scale"] * x + shift[:, None, None, None, None]


def digits(batch=32):
    x = jax.random.normal(jax.random.key(3), (batch, 1, 1, 8, 8))
    return {"x": x, "label": jnp.arange(batch, dtype=jnp.int32) % 10}


def test_the_denoising_loss_of_micro_batches_is_that_of_the_batch():
    objective = rules.make_objective(c2i_digits.get_config())
    inputs = denoising.make_draw(objective, null=np.int32(10), condition_dropout=0.3)(KEY, digits())
    params = {"scale": jnp.float32(0.3), "shift": jnp.float32(-0.2)}
    function = denoising.make_loss(denoiser, objective)
    whole, metrics = function(params, inputs)
    halves = [function(params, jax.tree.map(lambda leaf, i=i: leaf[i::2], inputs)) for i in range(2)]
    np.testing.assert_allclose(whole, np.mean([value for value, _ in halves]), rtol=1e-6)
    np.testing.assert_allclose(metrics["mse"], np.mean([m["mse"] for _, m in halves]), rtol=1e-6)


def test_conditions_are_dropped_with_the_probability_asked_for():
    objective = rules.make_objective(c2i_digits.get_config())
    batch = digits(4000)
    share = {}
    for dropout in (0.0, 0.1, 0.6):
        inputs = denoising.make_draw(objective, null=np.int32(10), condition_dropout=dropout)(KEY, batch)
        dropped = np.asarray(inputs.condition) == 10
        np.testing.assert_array_equal(
            np.asarray(inputs.condition)[~dropped], np.asarray(batch["label"])[~dropped]
        )
        share[dropout] = dropped.mean()
    assert share[0.0] == 0
    np.testing.assert_allclose([share[0.1], share[0.6]], [0.1, 0.6], atol=0.03)


def test_an_unconditional_draw_has_no_label():
    objective = rules.make_objective(c2i_digits.get_config())
    inputs = denoising.make_draw(objective, null=None, condition_dropout=0.5)(KEY, {"x": digits()["x"]})
    assert inputs.condition is None
    value, _ = denoising.make_loss(denoiser, objective)({"scale": 1.0, "shift": 0.0}, inputs)
    assert np.isfinite(value)


def test_times_noise_and_dropout_do_not_share_their_randomness():
    objective = rules.make_objective(c2i_digits.get_config())
    inputs = denoising.make_draw(objective, null=np.int32(10), condition_dropout=0.5)(KEY, digits(2000))
    first_noise = np.asarray(inputs.eps)[:, 0, 0, 0, 0]
    dropped = np.asarray(inputs.condition) == 10
    table = np.corrcoef([np.asarray(inputs.t), first_noise, dropped])
    assert np.abs(table[np.triu_indices(3, 1)]).max() < 0.08
