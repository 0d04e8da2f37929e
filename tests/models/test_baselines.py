"""The baselines: their functions against plain numpy, and their numbers of parameters."""

import jax
import numpy as np
import pytest
from flax import nnx

from configs import common
from ptdit_jax import models
from tests.models import reference, tiny

DIT = tiny.architecture("class", family="dit", shift_every=0, giim=False, width=16, depth=2)


def published_count(depth, width, *, channels=4, patch=2, classes=1000, learn_variance=True):
    """By hand from arXiv 2212.09748, without the fixed position table."""
    matrix = lambda inputs, outputs: (inputs + 1) * outputs  # noqa: E731
    embed = (
        matrix(channels * patch**2, width) + matrix(256, width) + matrix(width, width) + (classes + 1) * width
    )
    attention = matrix(width, 3 * width) + matrix(width, width)
    block = attention + matrix(width, 4 * width) + matrix(4 * width, width) + matrix(width, 6 * width)
    outputs = patch**2 * channels * (2 if learn_variance else 1)
    return embed + depth * block + matrix(width, 2 * width) + matrix(width, outputs)


@pytest.mark.parametrize(
    ("variant", "depth", "width", "millions"),
    [("S", 12, 384, 33), ("B", 12, 768, 130), ("L", 24, 1024, 458), ("XL", 28, 1152, 675)],
)
def test_the_number_of_parameters_is_dits(variant, depth, width, millions):
    model = common.get_config().model
    model.update({"family": "dit", "variant": variant})
    arch = models.architecture(model, (1, 2, 2), learn_variance=True)
    leaves = jax.tree.leaves(nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0))))
    number = sum(int(np.prod(leaf.shape)) for leaf in leaves)
    assert number == published_count(depth, width)
    assert round(number / 1e6) == millions


def baseline(family, condition="class", **fields):
    options = {"mediators": (1, 2, 3)} if family == "dam" else {}
    options |= {"shift_every": 0, "giim": False, "zero_linears": False, "width": 16, "depth": 2}
    return tiny.architecture(condition, family=family, **(options | fields))


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        (DIT, (1, 8, 8)),
        (DIT, (3, 4, 6)),  # frames have the same positions
        (baseline("dit", time_input="1-t"), (1, 6, 10)),
        (baseline("pixart", "text", sample_size=128), (1, 6, 10)),
        (baseline("pixart", "text", sample_size=128, positions="rescaled"), (1, 6, 10)),
        (baseline("dam"), (1, 8, 12)),
        (baseline("dam", attention_chunk=4), (1, 10, 14)),  # windows that the grid does not fill
        (baseline("dam", mediators=(2, 9, 1)), (3, 4, 6)),
        (baseline("full3d", "none"), (3, 4, 6)),
        (baseline("full3d", "text", attention_chunk=4), (2, 4, 6)),
        (baseline("factorized"), (3, 4, 6)),
        (baseline("factorized", "text", attention_chunk=4), (3, 4, 6)),
    ],
    ids=lambda value: value.family if isinstance(value, models.Architecture) else "x".join(map(str, value)),
)
def test_the_network_is_its_equations(arch, size):
    """Sizes that no window divides too."""
    model, (x, t, condition) = tiny.network(arch), tiny.inputs(arch, size)
    out = tiny.run(model, x, t, condition, window=(1, 2, 2))
    expected = reference.network(arch, tiny.numbers(model), x, t, condition)
    np.testing.assert_allclose(out, expected, atol=5e-5 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("family", ["dit", "dam", "factorized"])
def test_the_window_means_nothing_to_it(family):
    arch = baseline(family)
    model, arguments = tiny.network(arch), tiny.inputs(arch, (1, 4, 4))
    outputs = [tiny.run(model, *arguments, window=window) for window in ((1, 2, 2), (9, 3, 100))]
    np.testing.assert_array_equal(*outputs)


def test_mediators_are_64_where_8_divides_the_grid_and_no_more_than_tokens():
    network = tiny.abstract(baseline("dam", mediators=(1, 8, 8)))
    sizes = {(32, 32): 64, (64, 64): 64, (256, 128): 64, (8, 12): 24}
    for (height, width), mediators in sizes.items():
        assert network.layout((1, height, width), (1, 2, 2), None).windows == mediators


def test_it_refuses_what_ptdit_refuses():
    model, (x, t, labels) = tiny.network(DIT), tiny.inputs(DIT, (1, 8, 8))
    with pytest.raises(ValueError, match="8x7 must be multiples of the patch 2"):
        tiny.run(model, x[..., :7], t, labels, window=(1, 2, 2))
    with pytest.raises(ValueError, match="labels"):
        tiny.run(model, x, t, None, window=(1, 2, 2))
