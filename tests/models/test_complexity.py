"""Analytic counts against the traced network and against XLA."""

import jax
import pytest

from configs import common
from ptdit_jax import models
from ptdit_jax.models import complexity
from tests.models.traced import TEXT_TOKENS, call, inputs, traced_macs


def architecture(window=(1, 2, 2), **fields):
    """A small unrolled network; fields as in `config.model`."""
    model = common.get_config().model
    defaults = {"variant": "custom", "depth": 2, "width": 32, "heads": 2, "classes": 7, "text_dim": 24}
    model.update({**defaults, "unroll": 0, **fields})
    return models.architecture(model, window)


def analytic_macs(arch, size, window, proxy_ratio=None, text_tokens=TEXT_TOKENS):
    layout = complexity.abstract(arch).layout(size, window, proxy_ratio)
    return complexity.total(complexity.forward(arch, layout, text_tokens))


SMALL = {
    "class": ({}, (1, 8, 8), (1, 2, 2), None),
    "class, other patch, channels and outputs": (
        {"patch": 1, "channels": 3, "out_channels": 6, "mlp_ratio": 2},
        (1, 4, 6),
        (1, 2, 2),
        None,
    ),
    "text": ({"condition": "text"}, (1, 8, 8), (1, 2, 2), None),
    "none": ({"condition": "none"}, (1, 8, 8), (1, 2, 2), None),
    "text with adaLN-Zero": ({"condition": "text", "adaln": "zero"}, (1, 8, 8), (1, 2, 2), None),
    "class with adaLN-single": ({"adaln": "single"}, (1, 8, 8), (1, 2, 2), None),
    "zero-initialised Linears": ({"zero_linears": "yes"}, (1, 8, 8), (1, 2, 2), None),
    "without zero-initialised Linears": (
        {"condition": "text", "zero_linears": "no"},
        (1, 8, 8),
        (1, 2, 2),
        None,
    ),
    "shifts in every block": ({"shift_every": 1}, (1, 8, 8), (1, 2, 2), None),
    "w/o SWSA": ({"shift_every": -1}, (1, 8, 8), (1, 2, 2), None),
    "w/o TCM": ({"tcm": False}, (1, 8, 8), (1, 2, 2), None),
    "w/o GIIM": ({"giim": False}, (1, 8, 8), (1, 2, 2), None),
    "text w/o GIIM and TCM": ({"condition": "text", "giim": False, "tcm": False}, (1, 8, 8), (1, 2, 2), None),
    "some norms modulated": ({"modulated": ("injection_kv", "shift")}, (1, 8, 8), (1, 2, 2), None),
    "nothing modulated": ({"modulated": ()}, (1, 8, 8), (1, 2, 2), None),
    "top-left proxies": ({"extraction": "top_left"}, (1, 8, 8), (1, 2, 2), None),
    "random proxies": ({"extraction": "random"}, (1, 8, 8), (1, 2, 2), None),
    "similar proxies": ({"extraction": "similarity"}, (1, 8, 8), (1, 2, 2), None),
    "interpolated": ({"injection": "interpolate"}, (1, 8, 16), (1, 2, 4), None),
    "interpolated video, text": (
        {"injection": "interpolate", "condition": "text"},
        (8, 8, 16),
        (4, 2, 4),
        None,
    ),
    "interpolated, windows of one token": ({"injection": "interpolate"}, (1, 8, 8), (1, 1, 1), None),
    "linear injection": ({"injection": "linear"}, (1, 8, 8), (1, 2, 2), None),
    "linear injection, text": ({"injection": "linear", "condition": "text"}, (1, 8, 8), (1, 2, 2), None),
    "video": ({}, (8, 8, 8), (4, 2, 2), None),
    "one frame of a video model": ({}, (1, 8, 8), (4, 2, 2), None),
    "padded": ({"condition": "text"}, (3, 10, 14), (2, 2, 4), None),
    "padded, interpolated": ({"injection": "interpolate"}, (3, 10, 14), (2, 2, 4), None),
    "several proxies a window": ({}, (1, 16, 16), (1, 4, 4), (1, 2, 2)),
    "several proxies a window, padded video": ({"condition": "text"}, (5, 16, 20), (4, 4, 4), (4, 4, 2)),
    "DiT": ({"family": "dit"}, (1, 8, 8), (1, 2, 2), None),
    "PixArt": ({"family": "pixart", "condition": "text"}, (1, 6, 10), (1, 2, 2), None),
    "DAM": ({"family": "dam", "mediators": (1, 2, 2)}, (1, 8, 12), (1, 2, 2), None),
    "DAM, padded": ({"family": "dam", "mediators": (2, 2, 3)}, (3, 10, 14), (1, 2, 2), None),
    "full 3-D, text": ({"family": "full3d", "condition": "text"}, (3, 6, 10), (2, 2, 2), None),
    "factorised": ({"family": "factorized"}, (3, 6, 10), (2, 2, 2), None),
    "factorised, text": ({"family": "factorized", "condition": "text"}, (3, 6, 10), (2, 2, 2), None),
    "DiT, video": ({"family": "dit", "modulated": (), "tcm": False}, (3, 6, 10), (2, 2, 2), None),
}


@pytest.mark.parametrize("case", SMALL)
def test_macs_are_those_of_the_traced_network(case):
    fields, size, window, proxy_ratio = SMALL[case]
    arch = architecture(window, **fields)
    assert analytic_macs(arch, size, window, proxy_ratio) == traced_macs(arch, size, window, proxy_ratio)


def test_macs_are_half_of_the_flops_that_xla_counts():
    arch = architecture(width=1024, heads=8, shift_every=1)  # wide: norms and softmax are no products
    size, window = (1, 16, 16), (1, 2, 2)
    apply, params = call(complexity.abstract(arch), window)
    flops = jax.jit(apply).lower(params, *inputs(arch, size)).compile().cost_analysis()["flops"]
    assert flops / 2 == pytest.approx(analytic_macs(arch, size, window).total, rel=0.01)


def test_an_injection_that_cannot_run_a_size_has_no_cost():
    arch = architecture(injection="linear")
    with pytest.raises(ValueError, match="windows of 4 tokens"):
        analytic_macs(arch, (1, 16, 16), (1, 4, 4))
