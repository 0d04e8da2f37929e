"""`benchmarks.accelerator`: its parts and their order, what it keeps, and that it measures what `train` runs."""

import functools
import json
import os
import re
from types import SimpleNamespace

import jax
import pytest
from tabulate import tabulate

from benchmarks import accelerator, accelerator_measure, accelerator_parts, light_build
from benchmarks.accelerator import Ledger
from benchmarks.accelerator_measure import Bench, TooLargeError
from benchmarks.accelerator_parts import Part
from benchmarks.light_table import table
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.program import make_program
from ptdit_jax.experiment.shapes import work_of_step
from ptdit_jax.parallel.mesh import make_mesh

GIB = 2**30


@functools.cache
def of(name, platform="cpu"):
    return next(
        part for part in accelerator_parts.parts(platform, small=platform == "cpu") if part.name == name
    )


def test_parts_begin_with_what_matters_most():
    gpu = [part.name for part in accelerator_parts.parts("gpu")]
    assert gpu[:6] == [
        "xl-1024px-train-ptdit-cudnn",
        "xl-1024px-train-pixart-cudnn",
        "xl-1024px-forward-ptdit-cudnn",
        "xl-1024px-forward-pixart-cudnn",
        "xl-1024px-train-ptdit-einsum",
        "xl-1024px-forward-ptdit-einsum",
    ]
    # Sizes x shapes x passes x (two choices and a baseline), each once.
    assert len(gpu) == len(set(gpu)) == 3 * 5 * 2 * 3
    assert {"s-class-2048px-train-dit-cudnn", "b-class-256px-17f-forward-full3d-cudnn"} <= set(gpu)
    assert not [name for name in gpu if "-einsum" in name and "-ptdit-" not in name]


@pytest.mark.parametrize(
    ("platform", "names"),
    [("tpu", ["splash", "einsum", "pallas"]), ("gpu", ["cudnn", "einsum"]), ("cpu", ["einsum"])],
)
def test_attentions_are_those_of_the_platform(platform, names):
    assert {size: accelerator_parts.attentions(size, platform) for size in accelerator_parts.SIZES} == (
        dict.fromkeys(accelerator_parts.SIZES, names)
    )


@pytest.mark.parametrize(
    ("size", "family", "depth"), [("xl", "pixart", 53), ("s-class", "dit", 12), ("b-class", "dit", 14)]
)
def test_baselines_have_equal_parameters(size, family, depth):
    """Counted apart from the search: the depth of which a block more and a block less are both further away."""
    ours = light_build.build(accelerator_parts.config_of(Part(size, "256px", "train", "ptdit", "einsum")))
    config = accelerator_parts.config_of(Part(size, "256px", "train", family, "einsum"))
    assert config.model.depth == depth
    gaps = []
    for blocks in (depth - 1, depth, depth + 1):
        config.model.depth = blocks
        gaps.append(abs(light_build.build(config).parameters - ours.parameters))
    assert min(gaps) == gaps[1] < 0.04 * ours.parameters


@pytest.mark.parametrize(
    "name", ["xl-64px-train-ptdit-einsum-small", "s-class-64px-17f-train-full3d-einsum-small"]
)
def test_the_step_is_that_of_train(name):
    config = accelerator_parts.config_of(of(name))
    config.data.batch = 2
    config.mesh.data = 1
    built = light_build.build(config, "cpu")
    mesh = make_mesh(config.mesh, jax.devices()[:1])
    experiment = build(config, mesh=mesh)
    program = make_program(config, experiment, mesh)

    step = jax.jit(light_build.make_step(built))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), program.state)
    key = jax.random.key(0)
    assert jax.eval_shape(lambda key: light_build.random_state(built, key), key) == shapes
    batch = jax.eval_shape(lambda key: light_build.random_batch(built, key, 2), key)
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in batch.items()} == {
        name: (leaf.shape, leaf.dtype) for name, leaf in program.batch.items()
    }
    ours, theirs = (each.trace(shapes, batch, key) for each in (step, program.step))
    assert plain(ours.jaxpr) == plain(theirs.jaxpr)
    assert 3 * 2 * built.macs * 2 == work_of_step(config, experiment).flops


def plain(jaxpr):
    """The text of a jaxpr without addresses of functions."""
    return re.sub(r"0x[0-9a-f]+", "", str(jaxpr))


@pytest.mark.parametrize(
    ("platform", "name", "kernel"),
    [
        ("gpu", "xl-1024px-train-ptdit-cudnn", "__cudnn$fmhaSoftmaxBackward"),
        ("gpu", "b-class-256px-17f-train-full3d-cudnn", "__cudnn$fmhaSoftmaxBackward"),
        ("tpu", "xl-1024px-train-ptdit-pallas", "tpu_custom_call"),
        ("tpu", "s-class-2048px-train-dit-splash", "tpu_custom_call"),
    ],
)
def test_steps_of_full_size_are_lowered_with_their_kernels(platform, name, kernel, monkeypatch):
    from jax._src.cudnn import fused_attention_stablehlo as calls

    monkeypatch.setattr(calls, "check_cudnn_version", lambda: 91000)
    part = next(part for part in accelerator_parts.parts(platform) if part.name == name)
    step, inputs = accelerator_measure._train(light_build.build(accelerator_parts.config_of(part), platform))
    given = jax.eval_shape(lambda keys: inputs(keys, 2), jax.random.split(jax.random.key(0)))
    lowered = step.trace(*given).lower(lowering_platforms=({"gpu": "cuda"}.get(platform, platform),))
    assert kernel in lowered.as_text()


def test_a_batch_is_halved_until_it_fits(monkeypatch):
    tried = []

    def attempt(built, part, bench, batch):
        tried.append(batch)
        if batch == 4:
            raise TooLargeError("30.0 GiB needed", 2)
        if batch == 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no memory\nand more")
        return {"batch": batch}

    monkeypatch.setattr(accelerator_measure, "_attempt", attempt)
    bench = Bench(jax.devices("cpu")[0], 1e12)
    part = of("xl-64px-train-ptdit-einsum-small")
    row = accelerator_measure.measure(part, bench)
    assert tried == [4, 2, 1]
    assert row["batch"] == 1
    assert (row["part"], row["tokens"], row["blocks"]) == (part.name, 16, 2)

    def never(built, part, bench, batch):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no memory\nand more")

    monkeypatch.setattr(accelerator_measure, "_attempt", never)
    note = accelerator_measure.measure(part, bench)["note"]
    assert note == "out of memory with one sample: RESOURCE_EXHAUSTED: no memory"


@pytest.mark.parametrize(
    ("temporaries", "state", "batch"),
    [(4, 2, None), (16, 2, 4), (64, 2, 1), (9, 2, 4), (4, 11, 0)],
)
def test_memory_says_which_batch_may_fit(temporaries, state, batch):
    """Of 8 samples: the state is argument and output in one place, temporaries grow with the batch."""
    stats = SimpleNamespace(
        argument_size_in_bytes=state * GIB,
        output_size_in_bytes=state * GIB,
        alias_size_in_bytes=state * GIB,
        temp_size_in_bytes=temporaries * GIB,
        generated_code_size_in_bytes=0,
    )
    if batch is None:
        assert accelerator_measure._fits(stats, 8, 10 * GIB) == (temporaries + state) * GIB
        return
    with pytest.raises(TooLargeError, match=rf"{temporaries + state}\.0 GiB needed, of 10\.0") as caught:
        accelerator_measure._fits(stats, 8, 10 * GIB)
    assert caught.value.batch == batch


@pytest.fixture
def measured(monkeypatch):
    """The parts that are measured, 100 s each by a clock that nothing else moves."""
    names, clock = [], SimpleNamespace(now=0.0)

    def measure(part, bench):
        names.append(part.name)
        clock.now += 100
        if "forward" in part.name:
            raise RuntimeError("no such kernel\nand more")
        speed = 30.0 if part.family == "ptdit" else 10.0
        numbers = {"ms": 5.0, "share": 0.5, "tflops": 300.0, "first_step_s": 20.0, "samples_per_s": speed}
        sizes = {"blocks": 28, "parameters": 10**9, "batch": 4, "compiled_bytes": GIB, "in_use_bytes": None}
        return {"part": part.name} | numbers | sizes

    monkeypatch.setattr(accelerator_measure, "measure", measure)
    monkeypatch.setattr(accelerator.time, "monotonic", lambda: clock.now)
    return names, clock


def test_a_run_goes_on_where_it_ended(measured, tmp_path, capsys):
    names, clock = measured
    found = [part for part in accelerator_parts.parts("gpu") if part.pair[:2] == ("xl", "1024px")]
    path, bench = tmp_path / "rows.jsonl", Bench(None, 600e12)
    ledger = Ledger(path, "chip")
    assert accelerator.measure_all(found[:4], ledger, bench, 0.0, 320) == 1
    # The fourth would have begun at 300 s and, as slow as the others, ended beyond the budget.
    assert names == [part.name for part in found[:3]]
    assert "batch 4, 5.0 ms, 50.0% of the peak (100 s)" in capsys.readouterr().out
    assert [json.loads(line)["part"] for line in path.read_text().splitlines()] == names

    path.write_text(path.read_text() + '{"part": "xl-1')  # a killed run
    clock.now = 0.0
    again = Ledger(path, "chip")
    assert "not finished" in capsys.readouterr().err
    assert set(again.rows) == set(names[:2])  # the third failed, and is tried again
    assert accelerator.measure_all(found[:5], again, bench, 0.0, 1e9) == 0
    assert names[3:] == [part.name for part in found[2:5]]
    text = accelerator.report(found, again.rows)
    assert [line.split("|")[-2].strip() for line in text.splitlines()[2:5]] == ["3.00x", "", "3.00x"]
    assert f"{found[2].name}: RuntimeError: no such kernel" in text.splitlines()
    assert not Ledger(path, "another chip").rows


def test_parts_that_fit_are_measured_after_those_that_do_not(measured, tmp_path):
    names, _ = measured
    found = [Part(size, "256px", "train", "ptdit", "einsum") for size in ("xl", "xl", "s-class")]
    found[1] = Part("xl", "512px", "train", "ptdit", "einsum")
    left = accelerator.measure_all(
        found, Ledger(tmp_path / "rows.jsonl", "chip"), Bench(None, 1e12), 0.0, 150
    )
    assert (left, names) == (1, [found[0].name, found[2].name])


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("shopping list\n")
    with pytest.raises(ValueError, match=r"notes\.txt: line 1 is no row of this command \('shopping list'\)"):
        Ledger(tmp_path / "notes.txt", "chip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "xxl-*"], r"--only=xxl-\* matches none of the 60 parts"),
        ([], "no accelerator here; --small"),
        (["--small", "--budget", "-1"], r"--budget=-1\.0 must be"),
    ],
)
def test_wrong_commands_are_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    with pytest.raises(ValueError, match=message):
        accelerator.main(arguments)
    assert not list(tmp_path.iterdir())


def test_tables_are_those_of_tabulate():
    header, rows = ("part", "ms"), [["xl", "1.0"], ["s-class-train", "12.25"]]
    assert table(header, rows) == tabulate(
        rows, header, tablefmt="pipe", colalign=("left", "right"), disable_numparse=True
    )
