"""Gradients: finite differences of the float64 reference, and the same in scan, unrolled and with remat."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models import reference, tiny

ABLATIONS = {
    f"{extraction}, {injection}": {"extraction": extraction, "injection": injection}
    for extraction in ("average", "top_left", "random", "similarity")
    for injection in ("cross_attention", "interpolate", "linear")
}
ABLATIONS |= {
    "w/o GIIM": {"giim": False},
    "w/o SWSA": {"shift_every": 0},
    "w/o TCM": {"tcm": False, "shift_every": 0},
}


def value_and_grad(arch, arguments, weights, *, window, keys=None):
    """Output and {path: gradient of sum(weights · output)} in the parameters of `tiny.network`."""
    graphdef, params = nnx.split(tiny.network(arch))

    def loss(params):
        out = nnx.merge(graphdef, params)(*arguments, window=window, keys=keys)
        return jnp.sum(weights * out), out

    run = jax.jit(jax.grad(loss, has_aux=True), compiler_options=tiny.FAST)
    grads, out = run(params)
    return np.asarray(out), {path: np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(grads)}


def setting(arch, size):
    arguments = tiny.inputs(arch, size)
    shape = (2, arch.out_channels, *size)
    return arguments, np.random.default_rng(5).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "depth", "size", "window"),
    [("text", 1, (1, 6, 6), (1, 2, 4)), ("class", 2, (3, 2, 6), (2, 2, 2))],  # both padded
)
def test_gradient_is_the_finite_difference_in_float64(kind, depth, size, window):
    """One random direction for each parameter; the differences are those of the independent reference."""
    arch = tiny.architecture(kind, depth=depth)
    arguments, weights = setting(arch, size)
    _, grads = value_and_grad(arch, arguments, weights, window=window)
    p, rng, step = tiny.numbers(tiny.network(arch)), np.random.default_rng(2), 1e-4
    loss = lambda: np.sum(weights * reference.network(arch, p, *arguments, window=window))  # noqa: E731
    for path, grad in grads.items():
        assert np.isfinite(grad).all(), path
        leaf = p
        for name in path:
            leaf = leaf[name]
        value, direction = leaf.copy(), rng.standard_normal(leaf.shape)
        leaf[...] = value + step * direction
        above = loss()
        leaf[...] = value - step * direction
        below = loss()
        leaf[...] = value
        numeric, analytic = (above - below) / (2 * step), np.sum(grad.reshape(leaf.shape) * direction)
        # Biases of keys do nothing (softmax): rounding alone makes their gradients.
        scale = np.linalg.norm(grads[(*path[:-2], "v", "bias")] if path[-2:] == ("k", "bias") else grad)
        assert abs(numeric - analytic) < 2e-4 * scale, path


@pytest.mark.parametrize("name", ABLATIONS)
def test_no_parameter_of_any_variant_is_dead(name):
    """Also the zero-initialised ones, which are random here; only biases of keys do nothing (softmax)."""
    changes = {"linear_tokens": 4 if ABLATIONS[name].get("injection") == "linear" else 0} | ABLATIONS[name]
    kind = "class" if "top_left" in name or "w/o" in name else "text"
    arch = tiny.architecture(kind, **{"depth": 1, "shift_every": 1, "unroll": 0, **changes})
    arguments, weights = setting(arch, (1, 6, 8))
    out, grads = value_and_grad(
        arch, arguments, weights, window=(1, 2, 2), keys=jax.random.split(jax.random.key(3), 2)
    )
    assert np.isfinite(out).all()
    assert np.std(out) > 0.1
    for path, grad in grads.items():
        assert np.isfinite(grad).all(), path
        if path[0] == "class_embedding":
            used = np.isin(np.arange(arch.classes + 1), arguments[2])
            np.testing.assert_array_equal(grad.any(-1), used)
            continue
        layers = grad if path[0] == "blocks" else grad[None]
        for layer in layers:
            assert np.linalg.norm(layer) > 1e-4 or path[-2:] == ("k", "bias"), path
        if path[-2:] == ("k", "bias"):
            assert np.abs(grad).max() < 1e-3 * np.abs(grads[(*path[:-2], "v", "bias")]).max()
        if path[-2:] == ("q", "bias"):
            assert np.abs(grad).max() > 1e-6


# With random proxies, so that keys travel through the scan too.
STACK = tiny.architecture("class", depth=2, shift_every=1, extraction="random")


def stack_gradients(unroll, remat):
    arch = dataclasses.replace(STACK, unroll=unroll, remat=remat)
    arguments, weights = setting(arch, (1, 6, 6))
    return value_and_grad(
        arch, arguments, weights, window=(1, 2, 2), keys=jax.random.split(jax.random.key(0), 2)
    )


@pytest.fixture(scope="module")
def scanned():
    """Output and gradients of the plain scan."""
    return stack_gradients(unroll=1, remat="none")


@pytest.mark.parametrize(
    ("unroll", "remat"),
    [(0, "none"), (2, "none"), (1, "block"), (1, "dots"), (0, "dots"), (1, "attention"), (1, "offload")],
)
def test_unrolled_and_remat_are_the_scan(scanned, unroll, remat):
    out, grads = stack_gradients(unroll, remat)
    np.testing.assert_allclose(out, scanned[0], atol=1e-5, rtol=0)
    assert set(grads) == set(scanned[1])
    for path, grad in grads.items():
        expected = scanned[1][path]
        # Biases of keys do nothing (softmax): rounding alone makes their gradients.
        scale = np.abs(
            scanned[1][(*path[:-2], "q", "bias")] if path[-2:] == ("k", "bias") else expected
        ).max()
        np.testing.assert_allclose(grad, expected, atol=2e-5 * scale, rtol=0, err_msg=path)


def test_gradients_of_blocks_are_collected_in_the_compute_dtype(monkeypatch):
    """The same bits as of blocks that cast their parameters themselves; in the loop nothing wider than bfloat16."""
    arch = tiny.architecture("text", depth=3, compute_dtype="bfloat16", remat="block")
    arguments, weights = setting(arch, (1, 4, 4))
    graphdef, params = nnx.split(tiny.abstract(arch))

    def loss(params):
        return jnp.sum(weights * nnx.merge(graphdef, params)(*arguments, window=(1, 2, 2)))

    def collected():  # dtypes of what the backward loop leaves of each block's weights
        width = arch.width
        (_, backward) = (
            equation
            for equation in jax.make_jaxpr(jax.grad(loss))(params).jaxpr.eqns
            if equation.primitive.name == "scan"
        )
        shapes = {(3, width, width), (3, width, 4 * width), (3, 4 * width, width)}
        return {str(out.aval.dtype) for out in backward.outvars if out.aval.shape in shapes}

    out, grads = value_and_grad(arch, arguments, weights, window=(1, 2, 2))
    assert collected() == {"bfloat16"}
    monkeypatch.setattr("ptdit_jax.models.ptdit.in_compute_dtype", lambda block: block)
    assert collected() == {"float32"}
    expected, expected_grads = value_and_grad(arch, arguments, weights, window=(1, 2, 2))
    np.testing.assert_array_equal(out, expected)
    for path, grad in grads.items():
        assert grad.dtype == np.float32, path
        np.testing.assert_array_equal(grad, expected_grads[path], err_msg=path)


def test_remat_computes_again_what_it_does_not_keep():
    """Counted in the program of a block's gradient: five softmaxes more; "dots" keeps weight products."""

    def count(remat):
        arch = tiny.architecture("text", depth=1, unroll=0, remat=remat)
        arguments, weights = setting(arch, (1, 4, 4))
        graphdef, params = nnx.split(tiny.abstract(arch))

        def loss(params):
            return jnp.sum(weights * nnx.merge(graphdef, params)(*arguments, window=(1, 2, 2)))

        program = str(jax.make_jaxpr(jax.grad(loss))(params))
        return program.count(" exp "), program.count("dot_general")

    softmaxes, products = zip(*map(count, ("none", "dots", "block")))
    assert softmaxes[1] == softmaxes[2] == softmaxes[0] + 5
    assert products[0] < products[1] < products[2]
