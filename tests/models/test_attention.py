"""Attention against float64 loops over heads and queries."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ptdit_jax.models.attention import CrossAttention, SelfAttention, attention, chunked_attention
from tests.models import reference, tiny

RNG = np.random.default_rng(0)
jit = functools.partial(jax.jit, compiler_options=tiny.FAST)
attend = jit(attention)


def normal(*shape, scale=1.0):
    return (scale * RNG.standard_normal(shape)).astype(np.float32)


def looped(q, k, v, mask):
    """One query of one head at a time over the keys it may see; q (A, Q, H, d), mask (A, H, Q, K)."""
    out = np.zeros(q.shape)
    for a, i, head in np.ndindex(q.shape[:3]):
        keys = np.flatnonzero(mask[a, head, i])
        k_seen, v_seen = k[a, keys, head].astype(np.float64), v[a, keys, head].astype(np.float64)
        out[a, i, head] = reference.attend(q[a, i, head][None].astype(np.float64), k_seen, v_seen)[0]
    return out


@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (7, 3), (1, 1), (4, 1), (2, 9)])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_the_loop(queries, keys, masked):
    q, k, v = normal(3, queries, 2, 6), normal(3, keys, 2, 6), normal(3, keys, 2, 6)
    mask = RNG.random((3, 2, queries, keys)) < 0.5 if masked else np.ones((3, 2, queries, keys), bool)
    mask[..., 0] = True  # every query sees something
    out = attend(q, k, v, mask if masked else None)
    np.testing.assert_allclose(out, looped(q, k, v, mask), atol=2e-6, rtol=0)


@pytest.mark.parametrize("shape", [(5,), (4, 5), (1, 1, 5), (3, 1, 1, 5), (3, 1, 4, 5), (1, 2, 1, 5)])
def test_masks_broadcast(shape):
    q, k, v = normal(3, 4, 2, 6), normal(3, 5, 2, 6), normal(3, 5, 2, 6)
    mask = RNG.random(shape) < 0.6
    mask[..., 0] = True
    expected = looped(q, k, v, np.broadcast_to(mask, (3, 2, 4, 5)))
    np.testing.assert_allclose(attend(q, k, v, mask), expected, atol=2e-6, rtol=0)


def test_masked_keys_and_values_have_no_influence_at_all():
    q, k, v = normal(2, 4, 2, 6), normal(2, 5, 2, 6), normal(2, 5, 2, 6)
    mask = np.array([True, False, True, True, False])
    other_k, other_v = k.copy(), v.copy()
    other_k[:, [1, 4]], other_v[:, [1, 4]] = 1e4, -1e4
    np.testing.assert_array_equal(attend(q, k, v, mask), attend(q, other_k, other_v, mask))
    grads = jit(jax.grad(lambda k, v: jnp.sum(jnp.sin(attention(q, k, v, mask))), argnums=(0, 1)))(k, v)
    for grad in grads:
        assert not np.asarray(grad)[:, [1, 4]].any()
        assert np.asarray(grad)[:, [0, 2, 3]].any()


def test_a_row_without_keys_is_finite():
    """Its token is padding that nothing reads, but NaN would reach everything through gradients."""
    q, k, v = normal(1, 2, 1, 4), normal(1, 3, 1, 4), normal(1, 3, 1, 4)
    mask = np.array([[False, False, False], [True, True, False]])
    out, grad = jit(jax.value_and_grad(lambda q: jnp.sum(attention(q, k, v, mask)[:, 1])))(q)
    assert np.isfinite(out)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(np.asarray(attend(q, k, v, mask))[0, 0], v[0].mean(0), atol=1e-6)


def test_large_scores_do_not_overflow():
    q, k, v = normal(1, 3, 1, 4, scale=1e8), normal(1, 3, 1, 4, scale=1e8), normal(1, 3, 1, 4)
    assert np.isfinite(attend(q, k, v)).all()


def test_softmax_of_bfloat16_inputs_is_float32():
    """Scores of 64 and 64.25 are the same number in bfloat16."""
    q = jnp.ones((1, 1, 1, 4), jnp.bfloat16)
    k = jnp.asarray([[64, 64, 0, 0], [64, 64, 0.5, 0]], jnp.bfloat16).reshape(1, 2, 1, 4)
    v = jnp.asarray([0, 1], jnp.bfloat16).reshape(1, 2, 1, 1) * jnp.ones(4, jnp.bfloat16)
    out = attend(q, k, v)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(out, np.float32), 1 / (1 + np.exp(-0.25)), rtol=0.01)


@pytest.mark.parametrize("context", [None, 5])
def test_modules_match_the_reference(context):
    make = SelfAttention if context is None else CrossAttention
    module = tiny.filled(nnx.eval_shape(lambda: make(12, 3, dtype=jnp.float32, rngs=nnx.Rngs(0))))
    p, x = tiny.numbers(module), normal(2, 3, 4, 12)
    others = () if context is None else (normal(2, 3, context, 12),)
    out = np.asarray(jit(lambda module, *args: module(*args))(module, x, *others))
    function = reference.self_attention if context is None else reference.cross_attention
    for index in np.ndindex(2, 3):
        expected = function(p, *(a[index].astype(np.float64) for a in (x, *others)))
        np.testing.assert_allclose(out[index], expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("chunk", [1, 3, 5, 100])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("windows", [(), (3,)])
def test_chunks_of_queries_change_neither_outputs_nor_gradients(chunk, masked, windows):
    q, k, v = (normal(2, *windows, 5, 2, 6) for _ in range(3))
    mask = RNG.random((3, 1, 5, 5) if windows else (2, 1, 1, 5)) < 0.6
    mask[..., 0] = True
    mask = mask if masked else None

    def total(attend, q, k, v):
        out = attend(q, k, v, mask)
        return jnp.sum(jnp.sin(3 * out)), out

    results = [
        jit(jax.grad(functools.partial(total, attend), argnums=(0, 1, 2), has_aux=True))(q, k, v)
        for attend in (attention, functools.partial(chunked_attention, chunk=chunk))
    ]
    jax.tree.map(lambda ours, plain: np.testing.assert_allclose(ours, plain, atol=2e-6), *results[::-1])


def test_chunked_attention_keeps_no_weights_of_all_queries():
    shape = jax.ShapeDtypeStruct((1, 64, 2, 6), jnp.float32)

    def largest(attend):
        grad = jax.grad(lambda q, k, v: attend(q, k, v).sum(), argnums=(0, 1, 2))
        text = jax.jit(grad).lower(shape, shape, shape).as_text()
        sizes = re.findall(r"tensor<([\dx]+)xf32>", text)
        return max(math.prod(map(int, size.split("x"))) for size in sizes)

    assert largest(attention) == 2 * 64 * 64
    assert largest(functools.partial(chunked_attention, chunk=16)) == 2 * 16 * 64
