"""How training starts, and the names of the axes by which parameters are sharded."""

import numpy as np
import pytest
from flax import nnx

from tests.models import tiny

KINDS = {
    "text": tiny.architecture("text", width=48, heads=4),
    "class": tiny.architecture("class", width=48, heads=4, injection="linear", linear_tokens=4),
    "dit": tiny.architecture("class", width=48, heads=4, family="dit", shift_every=0),
    "factorized": tiny.architecture(
        "text", width=48, heads=4, family="factorized", shift_every=0, giim=False
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def start(request):
    """The kind, a network as training starts with it, and its parameters {path: array}."""
    arch = KINDS[request.param]
    model = tiny.initialised(arch)
    flat = {path: np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(nnx.state(model))}
    return arch, model, flat


ZERO_KERNELS = {
    ("final_layer", "proj_out", "kernel"),
    ("final_layer", "modulation", "kernel"),  # adaLN-Zero
    ("blocks", "modulation", "linear", "kernel"),  # adaLN-Zero
    ("blocks", "giim", "linear_1", "kernel"),
    ("blocks", "linear_2", "kernel"),
}


def test_zero_initialised_parts_are_zero_and_no_others(start):
    arch, _, flat = start
    text_out = {("blocks", "text_attention", "out", "kernel")} if arch.family != "ptdit" else set()
    for path, array in flat.items():
        name = tuple(part for part in path if not isinstance(part, int))
        assert (not array.any()) == (name in ZERO_KERNELS | text_out or name[-1] == "bias"), path


def test_the_first_output_is_zero(start):
    arch, model, _ = start
    out = tiny.run(model, *tiny.inputs(arch, (1, 6, 6)), window=(1, 2, 2))
    np.testing.assert_array_equal(out, np.zeros_like(out))


def test_matrices_are_xavier_uniform_each_for_itself(start):
    """Limit √(6 / (fan in + fan out)) of each."""
    arch, _, flat = start
    width, hidden = arch.width, arch.mlp_ratio * arch.width
    limits = {
        ("q", "kernel"): width + width,
        ("k", "kernel"): width + width,
        ("v", "kernel"): width + width,
        ("out", "kernel"): width + width,
        ("up", "kernel"): width + hidden,
        ("down", "kernel"): hidden + width,
        ("expand", "kernel"): width + arch.linear_tokens * width,
        ("patch_embedding", "kernel"): arch.channels * arch.patch**2 + width,
    }
    found = set()
    for path, array in flat.items():
        if path[-2:] not in limits or path[0] == "text_projection" or not array.any():  # zeros: tested above
            continue
        found.add(path[-2:])
        limit = (6 / limits[path[-2:]]) ** 0.5
        assert 0.98 * limit < np.abs(array).max() <= limit, path
        assert abs(array.std() / (limit / 3**0.5) - 1) < 0.06, path
        assert abs(array.mean()) < 0.05 * limit, path
    expected = {(name, "kernel") for name in ("q", "k", "v", "out", "up", "down")}
    expected |= {("patch_embedding", "kernel")}
    if arch.family == "ptdit":
        expected |= set() if arch.condition == "text" else {("expand", "kernel")}
    assert found == expected


def test_embeddings_and_tables_are_normal(start):
    arch, _, flat = start
    for path, array in flat.items():
        embedder = path[0] in ("time_embedding", "text_projection", "class_embedding", "shared_modulation")
        if embedder and path[-1] in ("kernel", "table"):
            assert abs(array.std() / 0.02 - 1) < 0.15, path
        elif path[-1] in ("table", "shift_table"):
            assert abs(array.std() * arch.width**0.5 - 1) < 0.2, path


def test_blocks_start_different_and_the_seed_decides(start):
    arch, _, flat = start
    again, other = (
        {
            path: np.asarray(leaf[...])
            for path, leaf in nnx.to_flat_state(nnx.state(tiny.initialised(arch, seed)))
        }
        for seed in (0, 1)
    )
    for path, array in flat.items():
        np.testing.assert_array_equal(array, again[path])
        if array.any():
            assert (array != other[path]).mean() > 0.99, path
            if path[0] == "blocks" and len(array) > 1:
                assert (array[0] != array[1]).mean() > 0.99, path


@pytest.mark.parametrize("kind", KINDS)
def test_every_axis_of_every_parameter_has_a_name(kind):
    arch = KINDS[kind]
    names = {
        "embed": arch.width,
        "heads": arch.width,
        "mlp": arch.mlp_ratio * arch.width,
        "layers": arch.groups,
    }
    names["mlp, text"] = arch.width
    used = set()
    for path, leaf in nnx.to_flat_state(nnx.state(tiny.abstract(arch))):
        axes = leaf.get_metadata("out_sharding")
        assert len(axes) == len(leaf.shape), path
        assert leaf.dtype == np.float32, path
        assert (axes[0] == "layers") == (path[0] == "blocks"), path
        assert "layers" not in axes[1:], path
        for name, size in zip(axes, leaf.shape):
            if name is not None:
                used.add(name)
                hidden = name == "mlp" and path[0] == "text_projection"
                assert size == names["mlp, text" if hidden else name], path
        assert path[-1] == "bias" or "embed" in axes or "mlp" in axes, path  # every matrix can be split
    assert used == {"embed", "heads", "mlp", "layers"}


def test_names_survive_initialisation(start):
    arch, model, _ = start
    names = {path: leaf.get_metadata("out_sharding") for path, leaf in nnx.to_flat_state(nnx.state(model))}
    abstract = nnx.to_flat_state(nnx.state(tiny.abstract(arch)))
    assert names == {path: leaf.get_metadata("out_sharding") for path, leaf in abstract}
    values = [axes for path, axes in names.items() if path[-2:] == ("v", "kernel")]
    assert set(values) == {("layers", "embed", "heads")}
