"""Where arrays lie: the specs of the real parameters, and of all that follows them."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from configs import c2i_digits, common
from ptdit_jax import models
from ptdit_jax.experiment.program import state_shardings
from ptdit_jax.parallel import mesh as meshes
from ptdit_jax.parallel.axes import RULES
from ptdit_jax.parallel.rules import batch_sharding, param_shardings, spec
from ptdit_jax.training import optimizer, state


def mesh_of(**sizes):
    return AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))


MESH = mesh_of(data=2, fsdp=4, tensor=1, context=1)


def abstract_params(**fields):
    config = c2i_digits.get_config()
    config.model.update(fields)
    build = lambda: models.create(config.model, window=(1, 2, 2), rngs=nnx.Rngs(0))  # noqa: E731
    return nnx.split(nnx.eval_shape(build), nnx.Param)[1]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"condition": "text"},
        {"injection": "linear"},
        {"family": "dit"},
        {"family": "dam"},
        {"family": "factorized", "condition": "text"},
    ],
)
def test_every_parameter_with_an_axis_of_the_width_is_split_along_it(fields):
    params = abstract_params(**fields)
    places, shapes = nnx.to_pure_dict(params), param_shardings(params, MESH)
    assert jax.tree.structure(places) == jax.tree.structure(shapes)
    whole = []
    for path, place in jax.tree.leaves_with_path(shapes):
        axes = [axis for axis in place.spec if axis is not None]
        assert axes in ([], ["fsdp"]), jax.tree_util.keystr(path)
        if not axes:
            whole.append(jax.tree_util.keystr(path))
    # whole on every device are only biases of inner widths, and the first Linear of the text, which has none
    assert all("bias" in path or "text_projection" in path for path in whole), whole


def test_specs_of_some_parameters():
    places = param_shardings(abstract_params(), MESH)
    block = places["blocks"][0]
    assert block["mlp"]["up"]["kernel"].spec == PartitionSpec(None, "fsdp", None)
    assert block["mlp"]["down"]["kernel"].spec == PartitionSpec(None, None, "fsdp")
    assert places["class_embedding"]["table"].spec == PartitionSpec(None, "fsdp")


def test_specs_of_some_parameters_on_four_axes():
    places = param_shardings(abstract_params(), mesh_of(data=2, fsdp=2, tensor=2, context=4))
    block, both = places["blocks"][0], ("fsdp", "context")
    assert block["mlp"]["up"]["kernel"].spec == PartitionSpec(None, both, "tensor")
    assert block["mlp"]["up"]["bias"].spec == PartitionSpec(None, "tensor")
    assert block["mlp"]["down"]["kernel"].spec == PartitionSpec(None, "tensor", both)
    attention = block["window_attention"]["attention"]
    assert attention["q"]["kernel"].spec == PartitionSpec(None, both, "tensor")
    assert attention["out"]["kernel"].spec == PartitionSpec(None, "tensor", both)
    assert attention["out"]["bias"].spec == PartitionSpec(None, both)


def test_moments_and_averages_lie_where_their_parameters_do():
    places = param_shardings(abstract_params(), MESH)
    direction = optimizer.make_direction(common.get_config().optimizer)
    params = nnx.to_pure_dict(abstract_params())
    abstract = jax.eval_shape(lambda tree: state.create(tree, direction, (0.9, 0.99)), params)
    found = state_shardings(abstract, places, direction, MESH)
    assert jax.tree.structure(found) == jax.tree.structure(abstract)
    assert found.params == places
    assert found.emas == {"ema_0.9": places, "ema_0.99": places}
    adam = found.opt_state[1]
    assert adam.mu == adam.nu == places
    assert adam.count.spec == found.step.spec == found.guard.weight.spec == PartitionSpec()


def test_the_batch_lies_over_all_devices():
    assert batch_sharding(MESH).spec == PartitionSpec(("data", "fsdp"))
    assert batch_sharding(MESH, leading=1).spec == PartitionSpec(None, ("data", "fsdp"))


def test_a_name_that_is_not_in_the_table_is_an_error():
    with pytest.raises(KeyError):
        spec(("embed", "depth"), MESH)
    assert RULES["batch"] == ("data", "fsdp")


def test_the_open_axis_takes_the_devices_that_are_left():
    mesh = meshes.make_mesh(common.get_config().mesh)
    assert dict(mesh.shape) == {"data": jax.device_count(), "fsdp": 1, "tensor": 1, "context": 1}
    assert set(mesh.axis_types) == {AxisType.Auto}


def test_slices_are_replicas_and_everything_else_stays_inside_one():
    devices = [
        SimpleNamespace(id=i, platform="cpu", device_kind="cpu", process_index=i, slice_index=i % 2)
        for i in range(16)
    ]
    placed = meshes.arrange((4, 2, 1, 2), devices)
    assert placed.shape == (4, 2, 1, 2)
    assert sorted(device.id for device in placed.flat) == list(range(16))
    for number, replica in enumerate(placed):
        assert {device.slice_index for device in replica.flat} == {number // 2}
    with pytest.raises(ValueError, match=r"mesh\.data=1 must be a multiple of the 2 slices"):
        meshes.arrange((1, 4, 1, 4), devices)


def test_an_axis_can_be_part_of_a_side_of_a_pod_and_context_neighbours_are_neighbours():
    devices = [
        SimpleNamespace(
            id=i, platform="tpu", device_kind="TPU v5", process_index=i // 4, coords=coords, core_on_chip=0
        )
        for i, coords in enumerate(np.ndindex(8, 8, 8))
    ]
    placed = meshes.arrange((32, 4, 1, 4), devices)
    assert len({device.id for device in placed.flat}) == 512
    for ring in placed.reshape(-1, 4):
        steps = np.abs(np.diff([device.coords for device in ring], axis=0))
        assert (steps.sum(1) == 1).all()
