"""The released text-to-image XL model: every tensor of its file is one of ours, in shape too."""

import collections
import json
import pathlib

import jax
import numpy as np
import pytest
from flax import nnx

from configs import common
from ptdit_jax import models
from ptdit_jax.convert import layouts

released = layouts.named("ptdit")
BUFFER = released.buffer
FILE = pathlib.Path(__file__).parent.parent / "goldens" / "released_t2i_xl_state_dict.json"


@pytest.fixture(scope="module")
def spec():
    """parameters: their number; keys: {name: shape} of the released file."""
    compact = json.loads(FILE.read_text())
    keys = {name: tuple(shape) for name, shape in compact["rest"].items()}
    for i in range(compact["blocks"]):
        keys |= {f"transformer_blocks.{i}.{name}": tuple(s) for name, s in compact["block"].items()}
    return compact["parameters"], keys


@pytest.fixture(scope="module")
def arch():
    model = common.get_config().model
    model.update({"variant": "XL", "condition": "text", "out_channels": 8})
    return models.architecture(model, (1, 8, 8))


def test_our_parameters_are_the_entries(arch):
    """Paths and shapes of the real module, which is never allocated."""
    state = nnx.state(nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0))))
    ours = {path: leaf.shape for path, leaf in nnx.to_flat_state(state)}
    layers = collections.Counter(path for entry in released.entries(arch) for path in entry.paths)
    for entry in released.entries(arch):
        for path in entry.paths:
            stacked = () if entry.layer is None else (layers[path],)
            assert ours[path] == (*stacked, *entry.shape), path
    assert set(ours) == set(layers)


def test_the_number_of_parameters_is_the_released_models(arch, spec):
    number, keys = spec
    assert number == 1_131_629_216
    assert sum(int(np.prod(shape)) for name, shape in keys.items() if name != BUFFER) == number
    leaves = jax.tree.leaves(nnx.eval_shape(lambda: models.build(arch, nnx.Rngs(0))))
    assert sum(int(np.prod(leaf.shape)) for leaf in leaves) == number


def test_every_released_tensor_has_its_entry_and_shape(arch, spec):
    """One block is converted for real (its arrays are views of one zero); the others have its entries."""
    _, keys = spec
    names = collections.Counter(entry.name for entry in released.entries(arch))
    assert set(names.values()) == {1}
    assert set(names) | {BUFFER} == set(keys)
    shapes = {}
    for entry in released.entries(arch):
        if entry.layer in (None, 0):
            zero = np.broadcast_to(np.zeros((), np.float32), entry.shape)
            tensor = entry.to_file([zero], arch)
            shapes[entry.name] = tensor.shape
            assert [part.shape for part in entry.to_ours(tensor)] == [entry.shape]
    assert shapes == {name: keys[name] for name in shapes}
    blocks = collections.defaultdict(list)
    for entry in released.entries(arch):
        if entry.layer is not None:
            name = entry.name.split(".", 2)[2]
            blocks[entry.layer].append((entry.paths, name, entry.kind, entry.shape))
    assert all(block == blocks[0] for block in blocks.values())
    assert len(blocks) == 28
