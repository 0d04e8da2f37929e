"""What is seen of a network is what its attention used, and the network is not changed by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ptdit_jax import config as rules
from ptdit_jax import models
from ptdit_jax.analyze import capture
from ptdit_jax.experiment.build import build
from ptdit_jax.models.baselines.dit import FullAttention
from ptdit_jax.models.layers import Linear
from tests.analyze.conftest import parameters, small

BATCH = 2


def inputs(experiment):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((BATCH, *experiment.shape), np.float32)
    if experiment.text is None:
        condition = jnp.arange(BATCH) if experiment.classes else None
    else:
        length, dim = experiment.text
        text = rng.standard_normal((BATCH, length, dim), np.float32)
        condition = (text, np.arange(length)[None] < np.array([[2], [length]]))
    return x, np.array([0.2, 0.7], np.float32), condition


def both(q, k):
    return {"q": q, "k": k}


@pytest.mark.parametrize(("family", "unroll"), [("dit", 0), ("pixart", 1)])
def test_queries_and_keys_are_those_that_the_projections_gave(family, unroll, monkeypatch):
    config = small(family, model__unroll=unroll, model__remat="block")
    experiment = build(config)
    params, given = parameters(experiment), inputs(experiment)
    out, seen = jax.jit(capture.make_watching(config, both, range(2)))(params, *given)

    calls, call = [], Linear.__call__

    def recording(self, x):
        calls.append((self.kernel[...], call(self, x)))
        return calls[-1][1]

    monkeypatch.setattr(Linear, "__call__", recording)
    plain = build(small(family, model__unroll=0))  # no loop, so that what is recorded can be returned

    @jax.jit
    def recorded(params, keys, *given):
        return plain.network(params, *given, keys), calls

    expected, outputs = recorded(params, jax.random.split(jax.random.key(0), BATCH), *given)
    if unroll == 0:
        np.testing.assert_array_equal(out, expected)
    np.testing.assert_allclose(out, expected, atol=1e-4)
    for layer in range(2):
        for name in ("q", "k"):
            kernel = params["blocks"][0]["attention"][name]["kernel"][layer]
            (of_kernel,) = [y for used, y in outputs if used.shape == kernel.shape and (used == kernel).all()]
            assert seen[name][layer].shape == (BATCH, 64, 2, 16)
            np.testing.assert_allclose(seen[name][layer], of_kernel, atol=1e-4)


def test_chosen_layers_alone_are_seen_in_their_order():
    config = small(model__depth=3)
    params, given = parameters(build(config)), inputs(build(config))
    _, every = jax.jit(capture.make_watching(config, both, range(3)))(params, *given)
    _, some = jax.jit(capture.make_watching(config, both, [0, 2]))(params, *given)
    np.testing.assert_allclose(some["q"], every["q"][jnp.array([0, 2])], rtol=1e-6)
    assert np.abs(every["q"][1] - every["q"][2]).max() > 0.1


def test_families_are_those_with_attention_of_all_to_all():
    found = []
    for family in models.FAMILIES:
        config = small(family)
        if family == "ptdit":
            config.model.shift_every = 1
        module = nnx.eval_shape(lambda config=config: models.build(rules.architecture(config), nnx.Rngs(0)))
        if isinstance(getattr(module.blocks[0], "attention", None), FullAttention):
            found.append(family)
    assert found == list(capture.FAMILIES)
