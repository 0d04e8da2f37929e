"""Schedules at their corners, and AdamW against optax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import common
from ptdit_jax.training.optimizer import SCHEDULES, make_direction, make_schedule, matrices


def settings(**fields):
    optimizer = common.get_config().optimizer
    optimizer.update(fields)
    return optimizer


@pytest.mark.parametrize("name", SCHEDULES)
def test_warmup_rises_evenly_to_the_peak(name):
    schedule = make_schedule(settings(learning_rate=0.5, schedule=name, warmup_steps=4), 20)
    np.testing.assert_allclose([schedule(i) for i in range(5)], [0.125, 0.25, 0.375, 0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "half", "end"), [("constant", 1, 1), ("cosine", 0.5, 0), ("linear", 0.5, 0)]
)
def test_schedules_half_way_and_at_the_end(name, half, end):
    schedule = make_schedule(settings(learning_rate=2.0, schedule=name, warmup_steps=10), 30)
    np.testing.assert_allclose([schedule(20), schedule(30)], [2 * half, 2 * end], atol=1e-6)


def test_a_step_is_that_of_optax_adamw():
    """Three steps with clipping and decay, on a matrix, a bias and a table."""
    chosen = settings(learning_rate=1e-2, weight_decay=0.3, clip_norm=0.5, b1=0.8, b2=0.95, eps=1e-6)
    params = {
        "a": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)},
        "table": jnp.ones((4, 3)),
    }
    direction, rate = make_direction(chosen), make_schedule(chosen, 10)(0)
    reference = optax.chain(
        optax.clip_by_global_norm(0.5), optax.adamw(1e-2, 0.8, 0.95, 1e-6, weight_decay=0.3, mask=matrices)
    )
    ours, theirs = (params, direction.init(params)), (params, reference.init(params))
    for i in range(3):
        gradient = jax.tree.map(lambda p, i=i: jnp.cos(p + i), params)
        updates, state = direction.update(gradient, ours[1], ours[0])
        ours = jax.tree.map(lambda p, u: p - rate * u, ours[0], updates), state
        updates, state = reference.update(gradient, theirs[1], theirs[0])
        theirs = optax.apply_updates(theirs[0], updates), state
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ours[0], theirs[0])


def test_only_matrices_decay():
    params = {
        "blocks": {0: {"kernel": jnp.ones((5, 2, 3)), "bias": jnp.ones((5, 3))}},
        "table": jnp.ones((4, 3)),
    }
    direction = make_direction(settings(weight_decay=0.1))
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = direction.update(zero, direction.init(params), params)
    np.testing.assert_allclose(updates["blocks"][0]["kernel"], 0.1, rtol=1e-6)
    np.testing.assert_array_equal(updates["blocks"][0]["bias"], 0)
    np.testing.assert_array_equal(updates["table"], 0)
