"""The six steps of the block against the float64 reference: every weight random, odd, padded, video sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from ptdit_jax.models.block import PTBlock
from ptdit_jax.models.window import merge_and_crop, pad_and_partition, windowing
from tests.models import reference, tiny

VIDEO = {"grid": (3, 5, 7), "window": (2, 2, 4), "ratio": None}
PROXIES = {"grid": (2, 5, 6), "window": (2, 4, 4), "ratio": (2, 2, 2)}  # some sub-grids are all padding
TRIPLES = {
    "grid": (3, 5, 9),
    "window": (2, 3, 3),
    "ratio": None,
}  # no window of two, where similarity is a tie
CLIPPED = {"grid": (1, 3, 9), "window": (4, 4, 4), "ratio": None}

CASES = {
    "text": ("text", {}, True, VIDEO),
    "text, four proxies a window": ("text", {}, True, PROXIES),
    "text, window larger than the grid": ("text", {}, True, CLIPPED),
    "text, adaLN-Zero": ("text", {"adaln": "zero"}, True, VIDEO),
    "class, shifted": ("class", {}, True, VIDEO),
    "class, not shifted": ("class", {}, False, VIDEO),
    "class, four proxies a window": ("class", {}, True, PROXIES),
    "class, zero-initialised Linears": ("class", {"zero_linears": True}, True, CLIPPED),
    "class, some norms modulated": ("class", {"modulated": ("shift", "proxy", "mlp")}, True, VIDEO),
    "class, nothing modulated": ("class", {"modulated": ()}, True, VIDEO),
    "class, adaLN-single": ("class", {"adaln": "single"}, True, VIDEO),
    "no condition, heads of width 4": ("none", {"heads": 4}, True, VIDEO),
    "without GIIM": ("class", {"giim": False}, True, VIDEO),
    "without SWSA": ("text", {}, False, VIDEO),
    "without TCM": ("class", {"tcm": False}, False, VIDEO),
    "without GIIM and TCM": ("text", {"giim": False, "tcm": False}, False, VIDEO),
    "top-left": ("class", {"extraction": "top_left"}, True, PROXIES),
    "similarity": ("class", {"extraction": "similarity"}, True, TRIPLES),
    "interpolation": ("text", {"injection": "interpolate"}, True, VIDEO),
    "linear": ("text", {"injection": "linear", "linear_tokens": 16}, True, VIDEO),
    "linear, class": ("class", {"injection": "linear", "linear_tokens": 12}, True, CLIPPED),
}


@pytest.mark.parametrize("case", CASES)
def test_block_is_the_six_steps(case):
    condition, changes, shifted, size = CASES[case]
    arch = tiny.architecture(condition, **changes)
    make = lambda: PTBlock(arch, shifted=shifted, rngs=nnx.Rngs(0))  # noqa: E731
    module = tiny.filled(nnx.eval_shape(make))
    layout = windowing(size["grid"], size["window"], size["ratio"])

    rng = np.random.default_rng(7)
    normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    z = normal(2, *size["grid"], 16)
    emb = normal(2, 6, 16) if arch.adaln == "single" else normal(2, 16)
    text, mask = (
        (normal(2, 3, 16), np.array([[1, 1, 0], [1, 1, 1]], bool)) if condition == "text" else (None, None)
    )

    def call(module, z, emb, text, mask):
        return merge_and_crop(module(pad_and_partition(z, layout), emb, text, mask, layout, None), layout)

    out = jax.jit(call, compiler_options=tiny.FAST)(module, z, emb, text, mask)
    assert out.dtype == jnp.float32
    p = tiny.numbers(module)
    for b in range(2):
        expected = reference.block(
            p,
            z[b].astype(np.float64),
            emb[b].astype(np.float64),
            None if text is None else text[b].astype(np.float64),
            None if mask is None else (mask[b] - 1.0) * 10000,
            arch,
            shifted=shifted,
            window=size["window"],
            ratio=size["ratio"],
        )
        assert np.abs(expected - z[b]).std() > 0.1
        np.testing.assert_allclose(out[b], expected, atol=5e-6 * np.abs(expected).max(), rtol=0)
