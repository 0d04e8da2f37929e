"""The MLP with its norm and gate: its backward pass under remat against JAX's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ptdit_jax.models import feed_forward as module
from ptdit_jax.models.feed_forward import MLP, feed_forward

WIDTH = 16


def setting(samples=3, tokens=40, hidden=64, gated=True, dtype="float32"):
    """An MLP of random weights, z (B, m, n, D), (shift, scale, gate) and the gradient of the result."""
    rng = np.random.default_rng(0)

    def numbers(*shape):
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    mlp = MLP(WIDTH, hidden, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
    mlp.up.bias[...], mlp.down.bias[...] = numbers(hidden), numbers(WIDTH)
    shift, scale, gate = (numbers(samples, WIDTH) for _ in range(3))
    z, gradient = (numbers(samples, 4, tokens // 4, WIDTH).astype(dtype) for _ in range(2))
    return mlp, z, (shift, scale, gate if gated else None), gradient


def pull(remat, mlp, z, modulation, gradient):
    """The result, and its gradient in parameters, z and modulation."""
    graphdef, params = nnx.split(mlp)
    call = functools.partial(feed_forward, dtype=mlp.up.dtype, remat=remat)

    def run(params, z, modulation):
        return call(nnx.merge(graphdef, params), z, modulation)

    out, back = jax.vjp(run, params, z, modulation)
    return out, jax.tree.leaves(back(gradient))


@pytest.mark.parametrize("remat", ["block", "attention", "offload"])
@pytest.mark.parametrize(
    "how",
    [{}, {"gated": False}, {"samples": 1, "tokens": 8}, {"hidden": 24}, {"hidden": 32}],
    ids=["parts", "no gate", "few tokens", "one part", "two parts"],
)
def test_gradients_are_those_of_the_plain_step(how, remat):
    out, found = pull(remat, *setting(**how))
    expected_out, expected = pull("none", *setting(**how))
    np.testing.assert_array_equal(out, expected_out)
    assert len(found) == len(expected) == 5 + 2 + (how.get("gated", True))
    for gradient, reference in zip(found, expected, strict=True):
        assert gradient.dtype == reference.dtype
        np.testing.assert_allclose(gradient, reference, rtol=0, atol=1e-5 * np.abs(reference).max())


def test_bfloat16_rounds_no_more_than_the_plain_step():
    """Errors of each gradient, beside float32 on the same numbers."""
    mlp, z, modulation, gradient = setting(tokens=64, dtype="bfloat16")
    exact_mlp, *_ = setting(tokens=64)
    wide = (array.astype(jnp.float32) for array in (z, gradient))
    _, exact = pull("none", exact_mlp, next(wide), modulation, next(wide))

    def errors(remat):
        _, found = pull(remat, mlp, z, modulation, gradient)
        return np.array(
            [
                np.linalg.norm(np.asarray(g, np.float32) - e) / np.linalg.norm(e)
                for g, e in zip(found, exact, strict=True)
            ]
        )

    plain, parts = errors("none"), errors("block")
    assert plain.max() > 1e-3  # it is computed in bfloat16
    assert (parts < 1.3 * plain + 1e-3).all(), (parts, plain)


@pytest.mark.parametrize(
    ("remat", "tokens", "own"), [("block", 8, 1), ("block", 4, 0), ("none", 40, 0), ("dots", 40, 0)]
)
def test_only_where_a_block_is_computed_again_and_samples_have_tokens(monkeypatch, remat, tokens, own):
    calls = []
    monkeypatch.setattr(
        module, "_by_parts", lambda mlp, z, modulation, dtype: calls.append(1) or z * modulation[2][0, 0]
    )
    pull(remat, *setting(tokens=tokens))
    assert len(calls) == own


def test_the_last_product_is_not_computed_again():
    """Multiply-accumulates of the compiled gradient of a step that is computed again, as XLA counts them."""
    mlp, z, modulation, gradient = setting(samples=2, tokens=512)
    graphdef, params = nnx.split(mlp)

    def flops(remat):
        @jax.checkpoint
        def step(params, z, modulation):
            mlp = nnx.merge(graphdef, params)
            return z + feed_forward(mlp, z, modulation, dtype=jnp.float32, remat=remat)

        run = jax.jit(jax.grad(lambda *given: jnp.sum(gradient * step(*given)), argnums=(0, 1, 2)))
        return run.lower(params, z, modulation).compile().cost_analysis()["flops"]

    product = 2 * z.size * 64
    saved = flops("none") - flops("block")
    assert 0.7 * product < saved < 1.3 * product
