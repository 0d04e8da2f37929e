"""Whole networks: against the float64 reference, at every size and window, under jit, scan and remat."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ptdit_jax.models import proxy, ptdit
from ptdit_jax.models.window import pad_and_partition
from tests.models import reference, tiny

# Latent (F, H, W), window, proxy ratio; the token grid has half of H and W.
SIZES = {
    "plain": ((1, 8, 8), (1, 2, 2), None),
    "padded": ((1, 10, 14), (1, 2, 4), None),
    "padded video": ((3, 6, 10), (2, 2, 2), None),
    "one frame through a video window": ((1, 8, 12), (4, 2, 2), None),
    "two frames through a window of four": ((2, 8, 4), (4, 2, 2), None),
    "window larger than the grid": ((1, 6, 10), (1, 8, 8), None),
    "window of the grid": ((2, 6, 4), (2, 3, 2), None),
    "window of one token": ((2, 6, 4), (1, 1, 1), None),
    "one token": ((1, 2, 2), (1, 2, 2), None),
    "four proxies a window": ((1, 16, 8), (1, 4, 4), (1, 2, 2)),
    "padding is a whole sub-grid": ((2, 10, 12), (1, 4, 4), (1, 2, 2)),
}


def assert_matches(arch, size, window, ratio=None):
    model = tiny.network(arch)
    x, t, condition = tiny.inputs(arch, size)
    out = tiny.run(model, x, t, condition, window=window, proxy_ratio=ratio)
    expected = reference.network(arch, tiny.numbers(model), x, t, condition, window=window, ratio=ratio)
    assert out.shape == expected.shape == (2, arch.out_channels, *size)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, expected, atol=5e-5 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("name", SIZES)
def test_text_network_at_every_size_with_the_same_weights(name):
    assert_matches(tiny.architecture("text"), *SIZES[name])


@pytest.mark.parametrize("name", ["padded video", "padding is a whole sub-grid"])
def test_class_network_at_every_size_with_the_same_weights(name):
    assert_matches(tiny.architecture("class"), *SIZES[name])


@pytest.mark.parametrize(
    ("changes", "size", "window"),
    [
        ({"patch_height": 1, "patch": 4}, (1, 1, 64), (1, 1, 4)),  # a signal: the grid is (1, 1, N)
        (
            {"patch_height": 1, "depth": 1, "shift_every": 1},
            (1, 1, 22),
            (1, 1, 4),
        ),  # whose last window is padded
        ({"patch_height": 4, "patch": 2, "depth": 1, "shift_every": 1}, (2, 8, 6), (2, 2, 2)),
    ],
)
def test_patches_that_are_not_square(changes, size, window):
    assert_matches(tiny.architecture("class", **changes), size, window)


@pytest.mark.parametrize(
    ("condition", "changes"),
    [
        ("none", {}),
        ("class", {"depth": 3, "shift_every": 3}),
        ("class", {"depth": 1, "shift_every": 0}),
        ("class", {"adaln": "single", "shift_every": 1}),
        ("text", {"adaln": "zero", "mlp_ratio": 2}),
        ("text", {"positions": "released", "sample_size": 128}),
        ("none", {"patch": 1, "channels": 1, "out_channels": 1}),
    ],
)
def test_every_kind_of_network(condition, changes):
    assert_matches(tiny.architecture(condition, **changes), (3, 6, 10), (2, 2, 2))


def test_linear_injection_runs_at_its_own_window_only():
    arch = tiny.architecture("class", injection="linear", linear_tokens=4)
    assert_matches(arch, (1, 6, 10), (1, 2, 2))
    with pytest.raises(ValueError, match=r"windows of 4 tokens, not \(1, 3, 4\)"):
        tiny.run(tiny.network(arch), *tiny.inputs(arch, (1, 6, 10)), window=(1, 4, 4))


def test_padding_cannot_influence_the_output(monkeypatch):
    """Whatever the padding starts with."""
    arch = tiny.architecture("text", depth=3)
    model, (x, t, condition) = tiny.network(arch), tiny.inputs(arch, (3, 10, 6))
    outputs = []
    for garbage in (0.0, 50.0, -3.0):

        def polluted(z, layout, garbage=garbage):
            return jnp.where(jnp.asarray(layout.valid)[..., None], pad_and_partition(z, layout), garbage)

        monkeypatch.setattr(ptdit, "pad_and_partition", polluted)
        run = jax.jit(lambda *a: model(*a, window=(2, 2, 2)), compiler_options=tiny.FAST)
        outputs.append(np.asarray(run(x, t, condition)))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


def test_a_batch_of_mixed_times_and_labels_equals_each_sample_alone():
    for kind in ("text", "class"):
        arch = tiny.architecture(kind)
        model, (x, t, condition) = tiny.network(arch), tiny.inputs(arch, (1, 6, 6), batch=3)
        together = tiny.run(model, x, t, condition, window=(1, 2, 2))
        for b in range(3):
            sample = jax.tree.map(lambda a, b=b: a[b : b + 1], (x, t, condition))
            alone = tiny.run(model, *sample, window=(1, 2, 2))
            np.testing.assert_allclose(together[b : b + 1], alone, atol=1e-5, rtol=0)


def test_samples_of_a_batch_do_not_see_each_other():
    arch = tiny.architecture("text")
    model, (x, t, (text, mask)) = tiny.network(arch), tiny.inputs(arch, (1, 6, 6))
    first = tiny.run(model, x, t, (text, mask), window=(1, 2, 2))[0]
    x[1], t[1], text[1] = 9.0, 0.0, -2.0
    np.testing.assert_array_equal(first, tiny.run(model, x, t, (text, mask), window=(1, 2, 2))[0])


@pytest.mark.parametrize("family", ["ptdit", "pixart"])
def test_a_mask_of_zeros_is_no_mask_as_in_the_release(family):
    """A bias of -10000 on every key changes no softmax: the reference has it so, in float64."""
    fields = {"shift_every": 0, "giim": False, "zero_linears": False} if family == "pixart" else {}
    arch = tiny.architecture("text", family=family, depth=1, **fields)
    model, (x, t, (text, mask)) = tiny.network(arch), tiny.inputs(arch, (1, 4, 4))
    mask = mask.copy()
    mask[1] = 0
    out = tiny.run(model, x, t, (text, mask), window=(1, 2, 2))
    expected = reference.network(arch, tiny.numbers(model), x, t, (text, mask), window=(1, 2, 2))
    np.testing.assert_allclose(out, expected, atol=5e-5 * np.abs(expected).max(), rtol=0)
    mask[1] = 1
    np.testing.assert_array_equal(out, tiny.run(model, x, t, (text, mask), window=(1, 2, 2)))


def test_masked_text_cannot_influence_the_output():
    arch = tiny.architecture("text")
    model, (x, t, (text, mask)) = tiny.network(arch), tiny.inputs(arch, (1, 6, 6))
    assert (mask == 0).any()
    out = tiny.run(model, x, t, (text, mask), window=(1, 2, 2))
    other = np.where(mask[..., None] == 0, 100.0, text).astype(np.float32)
    np.testing.assert_array_equal(out, tiny.run(model, x, t, (other, mask), window=(1, 2, 2)))
    longer = np.pad(text, ((0, 0), (0, 3), (0, 0)), constant_values=5.0), np.pad(mask, ((0, 0), (0, 3)))
    np.testing.assert_allclose(out, tiny.run(model, x, t, longer, window=(1, 2, 2)), atol=1e-5)
    kept = np.where(mask[..., None] == 1, text + 1, text)
    assert np.abs(out - tiny.run(model, x, t, (kept, mask), window=(1, 2, 2))).max() > 0.01


def test_every_label_has_its_own_row_and_the_null_class_another():
    arch = tiny.architecture("class")
    model, (x, t, _) = tiny.network(arch), tiny.inputs(arch, (1, 6, 6), batch=arch.classes + 1)
    x, t = np.broadcast_to(x[:1], x.shape), np.full_like(t, 0.3)
    labels = np.arange(arch.classes + 1, dtype=np.int32)  # the last is the null class
    out = np.asarray(tiny.run(model, x, t, labels, window=(1, 2, 2))).reshape(len(labels), -1)
    distance = np.abs(out[:, None] - out[None]).max(-1) + np.eye(len(labels))
    assert distance.min() > 0.01
    assert model.class_embedding.table.shape == (arch.classes + 1, arch.width)


@pytest.mark.parametrize(
    ("kind", "condition", "message"),
    [
        ("class", None, "condition='class'.*labels"),
        ("class", (np.zeros((2, 4, 8)), np.ones((2, 4))), "condition='class'.*labels"),
        ("text", None, "condition='text'.*text.*mask"),
        ("text", np.zeros(2, np.int32), "condition='text'.*text.*mask"),
        ("none", np.zeros(2, np.int32), "condition='none'.*None"),
    ],
)
def test_the_wrong_condition_is_refused(kind, condition, message):
    arch = tiny.architecture(kind)
    x, t, _ = tiny.inputs(arch, (1, 4, 4))
    with pytest.raises(ValueError, match=message):
        tiny.run(tiny.network(arch), x, t, condition, window=(1, 2, 2))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 4, 1, 4, 4), r"x has shape \(2, 4, 1, 4, 4\).*\(B, 3, F, H, W\)"),
        ((2, 3, 4, 4), r"x has shape \(2, 3, 4, 4\)"),
        ((2, 3, 1, 5, 4), "5x4 must be multiples of the patch 2"),
    ],
)
def test_latents_of_the_wrong_shape_are_refused(shape, message):
    arch = tiny.architecture("none")
    with pytest.raises(ValueError, match=message):
        tiny.run(tiny.network(arch), np.zeros(shape, np.float32), np.zeros(2, np.float32), window=(1, 2, 2))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("text", lambda t, c: (t[:1], c), r"t has shape \(1,\).*\(2,\)"),
        ("text", lambda t, c: (t[:, None], c), r"t has shape \(2, 1\).*\(2,\)"),
        ("text", lambda t, c: (t, (c[0][..., :5], c[1])), r"text has shape \(2, 4, 5\).*\(2, L, 8\)"),
        ("text", lambda t, c: (t, (c[0][:1], c[1][:1])), r"text has shape \(1, 4, 8\).*\(2, L, 8\)"),
        ("text", lambda t, c: (t, (c[0], c[1][:, :3])), r"its mask \(2, 3\).*\(2, L\)"),
        ("class", lambda t, c: (t, c[:1]), r"labels are int32\[1\].*integers, \(2,\)"),
        ("class", lambda t, c: (t, c[:, None]), r"labels are int32\[2, 1\].*integers, \(2,\)"),
        ("class", lambda t, c: (t, c.astype(np.float32)), r"labels are float32\[2\].*integers, \(2,\)"),
    ],
)
def test_shapes_that_do_not_fit_the_batch_are_refused(kind, change, message):
    """None of them is broadcast."""
    arch = tiny.architecture(kind)
    x, t, condition = tiny.inputs(arch, (1, 4, 4))
    t, condition = change(t, condition)
    with pytest.raises(ValueError, match=message):
        tiny.run(tiny.network(arch), x, t, condition, window=(1, 2, 2))


def test_random_extraction_needs_a_key_and_depends_on_it():
    arch = tiny.architecture("class", extraction="random")
    model, arguments = tiny.network(arch), tiny.inputs(arch, (1, 8, 8))
    with pytest.raises(ValueError, match=r"extraction='random'.*keys"):
        tiny.run(model, *arguments, window=(1, 2, 2))
    outputs = [tiny.run(model, *arguments, keys_of(seed), window=(1, 2, 2)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[0] - outputs[2]).max() > 0.01


def keys_of(seed):
    return jax.random.split(jax.random.key(seed), 2)


def test_every_block_draws_on_its_own(monkeypatch):
    arch = tiny.architecture("class", depth=4, extraction="random", unroll=0)
    keys, extract = [], proxy.EXTRACTIONS["random"]

    def recorded(z, layout, block_keys):
        keys.append(jax.random.key_data(block_keys))
        return extract(z, layout, block_keys)

    @functools.partial(jax.jit, compiler_options=tiny.FAST)
    def run(model, x, t, labels, sample_keys):
        model(x, t, labels, window=(1, 2, 2), keys=sample_keys)
        return jnp.concatenate(keys)

    monkeypatch.setitem(proxy.EXTRACTIONS, "random", recorded)
    used = run(tiny.network(arch), *tiny.inputs(arch, (1, 4, 4)), keys_of(0))
    assert len(used) == len(np.unique(used, axis=0)) == 2 * arch.depth  # and so does every sample


def test_jit_equals_eager():
    arch = tiny.architecture("none", depth=1, shift_every=1, unroll=0)
    model, arguments = tiny.network(arch), tiny.inputs(arch, (1, 6, 10))
    eager = model(*arguments, window=(1, 2, 2))
    np.testing.assert_allclose(tiny.run(model, *arguments, window=(1, 2, 2)), eager, atol=2e-5, rtol=0)


def test_bfloat16_compute_is_close_and_the_output_float32():
    arch = tiny.architecture("text")
    arguments = tiny.inputs(arch, (1, 8, 8))
    exact = tiny.run(tiny.network(arch), *arguments, window=(1, 2, 2))
    half = dataclasses.replace(arch, compute_dtype="bfloat16")
    model = tiny.network(half)
    out = tiny.run(model, *arguments, window=(1, 2, 2))
    assert out.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {jnp.dtype("float32")}
    error = np.sqrt(np.mean((out - exact) ** 2)) / np.std(exact)
    assert 1e-4 < error < 0.03  # bfloat16 has 8 bits: some 0.4% a rounding


def test_norms_and_time_embedding_stay_float32_in_bfloat16():
    """Every matrix product with float32 inputs belongs to one of them, every bfloat16 one to the rest."""
    arch = tiny.architecture("text", compute_dtype="bfloat16", depth=1, unroll=0)
    x, t, condition = tiny.inputs(arch, (1, 8, 8))
    jaxpr = jax.make_jaxpr(lambda m, *a: m(*a, window=(1, 2, 2)))(tiny.network(arch), x, t, condition)
    ops = {}
    for equation in _equations(jaxpr.jaxpr):
        ops.setdefault(equation.primitive.name, []).append(equation)
    for name in ("rsqrt", "cos", "sin", "exp"):
        assert {e.outvars[0].aval.dtype for e in ops[name]} == {jnp.dtype("float32")}, name
    products = [e.invars[0].aval.dtype for e in ops["dot_general"]]
    # Two of the time embedding, t6, the output.
    assert products.count(jnp.float32) == 4
    assert set(products) == {jnp.dtype("float32"), jnp.dtype("bfloat16")}


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)
