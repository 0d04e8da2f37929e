"""`python -m ptdit_jax.plan` from end to end, as its own process: it decides which devices JAX has."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ptdit_jax.experiment.program import Memory, out_of_memory
from ptdit_jax.models.attention import attention
from ptdit_jax.models.feed_forward import feed_forward
from ptdit_jax.parallel.axes import AXES, whole
from ptdit_jax.parallel.chips import CHIPS
from ptdit_jax.plan import __main__ as plan
from ptdit_jax.plan.collectives import Collective
from ptdit_jax.plan.hlo_cost import Cost
from ptdit_jax.plan.measure import Plan, purpose_of
from ptdit_jax.plan.report import plan_report, plans_report

ROOT = Path(__file__).parents[2]
TINY = [
    "--config=configs/uncond_digits.py",
    "--config.model.variant=custom",
    "--config.model.depth=3",
    "--config.model.width=32",
    "--config.model.heads=2",
    "--config.model.unroll=1",
    "--config.model.shift_every=1",
    "--config.model.remat=block",
]
DEPTH, WIDTH = 3, 32


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess:
    # The program for the CPU is read, not run: its code need not be good.
    environment = os.environ | {
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    }
    command = [sys.executable, "-m", "ptdit_jax.plan", *TINY, *arguments]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture(scope="module")
def planned():
    """A plan with every axis, and the full-attention block beside it."""
    arguments = (
        "--topology=cpu:8",
        "--mesh=context=2,fsdp=2,tensor=2",
        "--batch=4",
        "--json",
        "--compare=full",
    )
    return json.loads(run(*arguments).stdout)


def test_plan_says_what_was_compiled(planned):
    ours, full = planned
    assert (ours["topology"], ours["chips"], ours["batch"], ours["depth"]) == ("cpu:8", 8, 4, DEPTH)
    assert ours["mesh"] == {"data": 1, "fsdp": 2, "tensor": 2, "context": 2}
    assert (ours["family"], full["family"]) == ("ptdit", "full3d")
    assert full["depth"] == DEPTH
    assert ours["fits"]
    assert ours["chip"] is None
    assert ours["unknown_loops"] == []


def test_memory_is_that_of_the_training_state(planned):
    """Parameters, two moments and an average of each, split over fsdp, context and where it can be tensor."""
    ours, memory = planned[0], planned[0]["memory"]
    state = 4 * 4 * ours["parameters"]
    assert state / 8 < memory["arguments"] < state / 4 + 2**16
    assert memory["aliased"] >= 0.95 * memory["outputs"]  # donated
    parts = (
        memory["arguments"] + memory["outputs"] - memory["aliased"] + memory["temporaries"] + memory["code"]
    )
    assert memory["total"] == parts


def test_every_block_exchanges_half_windows_with_its_neighbour(planned):
    permutes = [c for c in planned[0]["collectives"] if c["kind"] == "collective-permute"]
    assert {tuple(c["axes"]) for c in permutes} == {("context",)}
    assert {c["purpose"] for c in permutes} == {"activations"}
    # To the neighbour and back: forward, again for the backward pass, and for the gradients.
    assert sum(c["count"] for c in permutes) == 3 * 2 * DEPTH


def test_traffic_has_its_purposes(planned):
    ours, full = planned
    for found in (ours, full):
        assert sum(
            found["received"][p] for p in ("activations", "parameters", "gradients", "other")
        ) == pytest.approx(found["received"]["total"])
        assert all(found["received"][p] > 0 for p in ("activations", "parameters", "gradients"))
    assert {c["kind"] for c in ours["collectives"] if c["purpose"] == "parameters"} == {"all-gather"}
    assert ours["activations_received_per_block"] == pytest.approx(ours["received"]["activations"] / DEPTH)


def test_arithmetic_counts_every_block(planned):
    """XLA counts the body of the scan over blocks once, and we three times."""
    assert planned[0]["flops"] > 1.5 * planned[0]["flops_once"]


def test_sweep_ranks_every_mesh_that_is_possible():
    result = run("--topology=cpu:2", "--mesh=tensor=1,data=1", "--sweep", "--batch-per-replica=1", "--json")
    meshes = [(found["mesh"]["fsdp"], found["mesh"]["context"]) for found in json.loads(result.stdout)]
    assert sorted(meshes) == [(1, 2), (2, 1)]
    assert result.stderr.count(" s left") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--topology=v5e:2"], "--topology='v5e:2' must be 2 size(s)"),
        (["--topology=cpu:8", "--mesh=data=2,fsdp=2"], "the product must be the number of devices, 8"),
        (["--topology=cpu:8", "--batch=12"], "data.batch=12"),
        (["--topology=cpu:8", "--mesh=tensor=8", "--batch=8"], "mesh.tensor=8 must divide the 2 heads"),
        (["--topology=cpu:8,cpu:4", "--compare=full"], "--compare needs one topology"),
        (["--topology=cpu:8", "--mesh=data=4,fsdp=2", "--mesh=data=8"], "--mesh is given 2 times"),
        (["--topology=cpu:8", "--mesh=rows=2"], "AXIS one of data, fsdp, tensor, context"),
        (["--topology=cpu:8", "--config.model.widht=3"], "did you mean model.width?"),
    ],
)
def test_wrong_commands_say_what_would_be_right(arguments, words, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises((ValueError, SystemExit)) as caught:
        plan.main(["plan", *TINY, *arguments])
    said = str(caught.value) + capsys.readouterr().err
    assert words in said


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_without_libtpu_one_line_says_what_to_install():
    result = run("--topology=v5e:2x2", "--mesh=context=2,fsdp=2", "--batch=4", code=2)
    assert result.stderr.count("\n") == 1
    assert "requirements-tpu.txt" in result.stderr


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
def test_tpu_compiler_compiles_the_step():
    (found,) = json.loads(run("--topology=v5e:2x2", "--mesh=context=2,fsdp=2", "--batch=4", "--json").stdout)
    assert found["chip"]["name"] == "v5e"
    assert found["fits"]
    assert found["unknown_loops"] == []
    permutes = [c for c in found["collectives"] if c["kind"] == "collective-permute"]
    assert sum(c["count"] for c in permutes) == 3 * 2 * DEPTH
    assert set(found["bounds"]) == {"arithmetic", "memory", "interconnect"}


@pytest.mark.parametrize(
    ("message", "needed"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 17.50G of 15.75G hbm. Exceeded",
            17.5 * 2**30,
        ),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU: Ran out of memory in memory space hbm. Used 900.0M of 15.75G hbm.",
            900 * 2**20,
        ),
        ("INTERNAL: something else", None),
    ],
)
def test_out_of_memory_is_read(message, needed):
    assert out_of_memory(message) == needed


def made(**fields) -> Plan:
    values = {
        "name": "c",
        "family": "ptdit",
        "topology": "v5e:2x2",
        "chips": 4,
        "chip": CHIPS["v5e"],
        "batch": 1,
    }
    values |= {"mesh": dict.fromkeys(AXES, 1), "depth": 2, "parameters": 10, "seconds": 3.0}
    return Plan(**values | fields)


def test_what_does_not_fit_is_a_result():
    wanted = made(out_of_memory=17.5 * 2**30)
    assert not wanted.fits
    assert "17.50 GiB a chip, v5e has 16" in plan_report(wanted)
    row = [cell.strip() for cell in plans_report([wanted, wanted]).splitlines()[2].split("|")]
    assert "17.50 no" in " ".join(row)


def test_bounds_are_work_over_what_a_chip_can_do():
    collective = Collective("all-gather", ("context",), 4, 2e9, "", "")
    cost = Cost(flops=197e12, traffic=2 * 819e9, collectives={collective: 50})
    found = made(memory=Memory(0, 0, 0, 2**30, 0), cost=cost)
    assert found.bounds == pytest.approx({"arithmetic": 1.0, "memory": 2.0, "interconnect": 0.5})


def test_rank_puts_what_fits_first_and_the_smallest_bound_before_others():
    small = Memory(0, 0, 0, 2**30, 0)
    slow, fast = made(memory=small, cost=Cost(flops=2e12)), made(memory=small, cost=Cost(flops=1e12))
    full = made(out_of_memory=2**40)
    assert sorted([full, slow, fast], key=lambda found: found.rank) == [fast, slow, full]


@pytest.mark.parametrize(
    ("kind", "axes", "op_name", "function", "received", "purpose"),
    [
        ("all-gather", ("fsdp",), "jvp()/shard_map/all_gather", whole.__qualname__, 1e6, "parameters"),
        (
            "reduce-scatter",
            ("fsdp",),
            "transpose(jvp())/shard_map/reduce_scatter",
            whole.__qualname__,
            1e6,
            "gradients",
        ),
        (
            "all-gather",
            ("context",),
            "transpose(jvp())/shard_map/checkpoint/jvp()/all_gather",
            feed_forward.__qualname__,
            1e6,
            "parameters",
        ),
        (
            "reduce-scatter",
            ("context",),
            "transpose(jvp())/shard_map/checkpoint/transpose(jvp())/reduce_scatter",
            feed_forward.__qualname__,
            1e6,
            "gradients",
        ),
        (
            "all-reduce",
            ("tensor",),
            "transpose(jvp())/shard_map/checkpoint/transpose(jvp())/psum_invariant",
            feed_forward.__qualname__,
            1e6,
            "activations",
        ),
        ("all-gather", ("context",), "jvp()/shard_map/all_gather", "Windowing.gather", 1e6, "activations"),
        (
            "reduce-scatter",
            ("context",),
            "transpose(jvp())/shard_map/reduce_scatter",
            "Windowing.gather",
            1e6,
            "activations",
        ),
        (
            "all-reduce",
            ("context",),
            "transpose(jvp())/shard_map/reduce_scatter",
            "Windowing.gather",
            1e6,
            "activations",
        ),
        (
            "all-reduce",
            ("context",),
            "transpose(jvp())/shard_map/dot_general",
            attention.__qualname__,
            1e6,
            "activations",
        ),
        ("all-reduce", ("tensor",), "transpose(jvp())/shard_map/psum", "Linear.__call__", 1e6, "activations"),
        ("all-reduce", ("tensor",), "jvp()/shard_map/psum", "reduce_tensor", 1e6, "activations"),
        (
            "all-reduce",
            ("data", "context"),
            "transpose(jvp())/shard_map/psum",
            "Linear.__call__",
            1e6,
            "gradients",
        ),
        ("all-reduce", ("data",), "reduce_sum", "tree_sum", 7.5, "other"),
        ("all-reduce", ("data",), "", "", 1e6, "gradients"),
        ("all-reduce", ("data",), "", "", 8.0, "other"),
        ("collective-permute", ("context",), "", "", 1e6, "other"),
        (
            "collective-permute",
            ("fsdp", "context"),
            "transpose(jvp())/shard_map/checkpoint/dot_general",
            "Linear.__call__",
            1e6,
            "gradients",
        ),
        (
            "collective-permute",
            ("fsdp",),
            "transpose(jvp())/shard_map/checkpoint/rematted_computation/dot_general",
            "Linear.__call__",
            1e6,
            "parameters",
        ),
    ],
)
def test_purpose(kind, axes, op_name, function, received, purpose):
    assert purpose_of(Collective(kind, axes, 2, received, op_name, function)) == purpose


def test_json_holds_what_text_costs(monkeypatch, capsys):
    def measured(name, config, machine, mesh):  # nothing is compiled
        return Plan(name, config.model.family, machine.name, machine.chips, None, {}, config.data.batch, 1, 1)

    monkeypatch.setattr(plan, "measure", measured)
    arguments = ["plan", "--topology=cpu:1,cpu:1", "--mesh=fsdp=1", "--batch=4", "--json"]
    assert plan.main([*arguments, "--config=configs/t2i_xl_256.py"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["text"] == second["text"]
    assert first["text"]["stored"][0]["terabytes"] == pytest.approx(16.384)
    assert first["text"]["live"]["lengths"][0]["share_of_step"] == pytest.approx(0.261, abs=1e-3)
    assert plan.main([*arguments, "--config=configs/uncond_digits.py"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["text"] is None
