"""What stages cost, on this machine and on those that need not be there."""

import dataclasses
import json
import math

import jax
import pytest

from ptdit_jax.cost import memory as estimate
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import compile_step, make_program
from ptdit_jax.parallel import chips
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.stages import costs, recipe, tables
from ptdit_jax.text_tables import gib

STAGES = [
    ("a", "", {"checkpoint.keep": 2}),
    ("b", "a", {"train.steps": 7, "checkpoint.keep": 0, "data.batch": 8}),
]


@pytest.fixture(scope="module")
def made(recipe_file):
    return recipe.load(recipe_file(STAGES))


@pytest.fixture(scope="module")
def here():
    """This machine, as one device of it."""
    return dataclasses.replace(costs.target(None), devices=tuple(jax.devices()[:1]), count=1)


@pytest.fixture(scope="module")
def planned(made):
    machine = costs.target("cpu:1")
    return machine, costs.cost(made.runs["a"], machine)


@pytest.fixture(scope="module")
def estimated(made):
    machine = costs.Target("v5e:2x2", (), 4, chips.CHIPS["v5e"], costs.topology.parse("v5e:2x2"), "none")
    return machine, costs.cost(made.runs["a"], machine)


def arrays_of(config):
    """Bytes of every array of a run's state, by making none of them."""
    program = make_program(config, build(config), make_mesh({"data": 1}, jax.devices()[:1]))
    return sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(program.state)
    ), program


@pytest.mark.full
def test_a_topology_is_planned_by_its_compiler(made, planned):
    machine, found = planned
    state, program = arrays_of(made.runs["a"].config)
    assert found.source == "compiled"
    assert found.state == state
    assert found.memory == compile_step(program)[1].total
    assert found.parameters == program.parameters
    assert found.samples == 12 * 16
    assert found.disk == state * 3  # two kept, and one that is written
    assert math.isnan(found.step_seconds(0.5))  # a CPU's peak is not known
    text = tables.costs([found], machine, 0.5)
    row = [cell.strip() for cell in text.splitlines()[4].strip("|").split("|")]
    assert row[0] == "a"
    assert row[5:9] == ["192", gib(state), gib(found.memory), "compiled"]
    assert row[9:] == ["", "", gib(3 * state)]


def test_all_checkpoints_of_a_run_that_keeps_all_are_counted(made):
    config = made.runs["b"].config
    assert costs.checkpoints(config) == 3 * arrays_of(config)[0]  # steps 3, 6 and 7


def test_without_a_compiler_it_is_the_estimate_of_cost(made):
    note = "there is no compiler"
    chip = chips.CHIPS["v5e"]
    machine = costs.Target("v5e:2x2", (), 4, chip, costs.topology.parse("v5e:2x2"), note)
    run = made.runs["a"]
    found = costs.cost(run, machine)
    share = run.config.copy_and_resolve_references()
    share.data.batch = 4  # of 16, on each of four replicas
    assert found.memory == estimate.measure(share).total
    assert (found.source, found.note) == ("estimated", note)
    seconds = 6 * found.macs * 16 / 4 / chip.flops_bf16
    assert found.bounds == {"arithmetic": pytest.approx(seconds)}
    assert found.step_seconds(0.25) == pytest.approx(4 * seconds)
    text = tables.costs([found, found], machine, 0.25)
    assert f"note: estimated for a, a: {note}" in text


def test_the_largest_bound_counts_and_arithmetic_at_its_share(estimated):
    bounds = {"arithmetic": 1.0, "memory": 3.0, "interconnect": 2.0}
    found = dataclasses.replace(estimated[1], bounds=bounds)
    assert found.step_seconds(1.0) == 3.0
    assert found.step_seconds(0.25) == 4.0
    assert dataclasses.replace(found, seconds=0.5).step_seconds(0.25) == 0.5


def test_what_does_not_fit_is_said(estimated):
    machine, found = estimated
    small = dataclasses.replace(found, limit=found.memory / 2)
    assert "does not fit" in tables.costs([small], machine, 0.25)
    assert "does not fit" not in tables.costs([found], machine, 0.25)


def test_a_mesh_that_this_machine_has_not_is_an_estimate(made, here):
    run = made.runs["b"]
    config = run.config.copy_and_resolve_references()
    config.mesh.fsdp = 2
    found = costs.cost(dataclasses.replace(run, config=config), here)
    assert found.source == "estimated"
    assert "the product must divide the number of devices, 1" in found.note
    assert json.dumps(found.bounds) == "{}"


@pytest.mark.full
def test_a_step_is_timed_here(made, here):
    found = costs.cost(made.runs["a"], here)
    assert found.source == "timed"
    assert 0 < found.seconds == found.step_seconds(0.25) < 100
    assert 0 < found.state < found.memory < found.limit


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(90, "90 s"), (150, "2 min"), (7000, "117 min"), (9000, "2.5 h"), (1e6, "11.6 days"), (math.nan, "")],
)
def test_durations(seconds, text):
    assert tables.duration(seconds) == text
