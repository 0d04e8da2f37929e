"""What a sweep file may be, and that every point is the run that its command line describes."""

import re
import shutil
from pathlib import Path

import pytest

import configs.sweeps
from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.experiment import text_cost
from ptdit_jax.sweep import __main__ as sweep
from ptdit_jax.sweep import compiler, counts, plans, points, tables
from tests.sweep.conftest import FIELDS
from tests.training.runs import ROOT

SWEEPS = sorted(
    f"configs/sweeps/{path.stem}.py:{size}"
    for path in Path(configs.sweeps.__file__).parent.glob("*.py")
    if path.stem not in ("__init__", "common")
    for size in (("digits", "quick") if path.stem == "dynamic_ratio" else ("digits", "imagenet"))
)


@pytest.mark.parametrize("file", SWEEPS)
def test_every_sweep_is_valid(file):
    path, _, size = file.partition(":")
    sweep = points.load(file, check_data=size != "imagenet")
    assert len(sweep.points) >= (4 if size == "quick" else 6)
    assert sweep.name == Path(path).stem + ("" if size == "digits" else f"_{size}")
    assert len({counts.count(point.config).macs for point in sweep.points}) > 1


def test_the_ablations_are_those_of_table_2_with_three_seeds():
    sweep = points.load("configs/sweeps/ablations.py")
    variants = {}
    for point in sweep.points:
        variants.setdefault(point.variant, []).append(point)
    assert all([point.config.seed for point in group] == [0, 1, 2] for group in variants.values())
    full = rules.flatten(variants["full"][0].config)
    changes = {
        name: {
            field: value for field, value in rules.flatten(group[0].config).items() if value != full[field]
        }
        for name, group in variants.items()
    }
    assert changes == {
        "full": {},
        "no-giim": {"model.giim": False},
        "no-swsa": {"model.shift_every": -1},
        "no-tcm": {"model.tcm": False},
        "top-left": {"model.extraction": "top_left"},
        "random": {"model.extraction": "random"},
        "similarity": {"model.extraction": "similarity"},
        "interpolate": {"model.injection": "interpolate"},
        "linear": {"model.injection": "linear"},
        "ratio-4x4": {"compression.fixed": (1, 4, 4)},
        "ratio-8x8": {"compression.fixed": (1, 8, 8)},
    }
    assert len({point.config.sampling.seed for point in sweep.points}) == 1  # the same noise


def test_a_point_is_the_run_of_its_command_line(sweep_file):
    values = {
        "compression.fixed": (1, 4, 4),
        "train.ema_decays": (0.5, 0.9),
        "model.giim": False,
        "model.modulated": ("proxy", "mlp"),
        "optimizer.learning_rate": 3e-5,
        "seed": 7,
    }
    file = sweep_file([("a", {}), ("b-seed7", values)])
    sweep = points.load(file, ["--config.data.batch=8"])
    a, b = sweep.points
    for point, fields in ((a, {}), (b, values)):
        flat = rules.flatten(point.config)
        for field, value in {**FIELDS, **fields, "data.batch": 8}.items():
            assert flat[field] == value, field
        config, folder, _ = cli.parse(
            ["train", *point.arguments, f"--workdir={sweep.folder(point.name)}"], ""
        )
        assert config.to_dict() == point.config.to_dict()
        assert folder == Path("runs/sweeps/tiny_sweep/points") / point.name
    assert (a.variant, b.variant) == ("a", "b")
    assert set(sweep.varied) == {*values} - {"seed"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("a", {}), ("b", {"model.extractoin": "random"})],
         "point b: --config.model.extractoin: there is no such field; did you mean model.extraction?"),
        ([("a", {"model.depth": "many"})], "point a: "),
        ([("a", {}), ("b", {"model.width": 40}), ("c", {"model.width": 40, "seed": 1})],
         "points b, c: model.width=40 must be a multiple of 16"),
        ([("a", {}), ("b", {"seed": 1}), ("a", {"seed": 2})], "point a: more than one point has this name"),
        ([("a", {}), ("b", {})], "point b: the same config as a"),
        ([("A/b", {})], "the name up to 30 lower-case letters"),
        ([], "yields nothing"),
    ],
)  # fmt: skip
def test_a_wrong_point_is_named_with_what_is_wrong(sweep_file, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        points.load(sweep_file(given))


def test_many_wrong_points_are_counted(sweep_file):
    with pytest.raises(ValueError, match=r"^points a0, a1, a2 and 2 more: data\.batch=0 must be at least 1$"):
        points.load(
            sweep_file([(f"a{seed}", {"seed": seed}) for seed in range(5)]), ["--config.data.batch=0"]
        )


def test_what_points_hardly_mean_is_said_once(sweep_file):
    given = [(f"a{seed}", {"seed": seed}) for seed in range(2)]
    (line,) = points.load(sweep_file(given)).warnings
    assert line.startswith("points a0, a1: sampling.ema=0.9: after train.steps=12 ")
    given = [("a", {"sampling.ema": 0})]
    assert points.load(sweep_file(given)).warnings == []


def test_a_file_that_is_no_sweep_is_refused(sweep_file, tmp_path):
    file = sweep_file([("a", {})], sizes=("small", "large"))
    assert points.load(file).name == "tiny_sweep"
    assert points.load(f"{file}:large").name == "tiny_sweep_large"
    broken = tmp_path / "broken.py"
    broken.write_text(
        "BASES = {'digits': 'configs/c2i_digits.py'}\ndef points(size):\n    yield undefined, {}\n"
    )
    empty = tmp_path / "empty.py"
    empty.write_text("BASES = {}\n")
    for name, message in (
        (f"{file}:huge", "'huge' is unknown; it is one of 'small', 'large'"),
        ("none.py", "none.py: there is no such file"),
        (broken, "points('digits'): NameError: name 'undefined'"),
        (empty, "a sweep has BASES"),
        (sweep_file([("a", {})], base="configs/none.py"), "configs/none.py"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            points.load(str(name))


def test_a_folder_with_another_run_is_refused(sweep_file, tmp_path):
    (point,) = points.load(sweep_file([("a", {"model.heads": 1})]), workdir=tmp_path).points
    folder = tmp_path / "points" / "a"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_text(rules.to_json(point.config))
    assert points.load(sweep_file([("a", {"model.heads": 1, "sampling.steps": 3})]), workdir=tmp_path).points
    with pytest.raises(
        ValueError, match=r"point a: .*/points/a has a run with another config.*model\.heads=2, was 1"
    ):
        points.load(sweep_file([("a", {})]), workdir=tmp_path)


def test_points_that_differ_in_the_ratio_alone_start_from_one_another(sweep_file, tmp_path):
    given = [
        ("a", {}),
        ("a-ratio", {"compression.fixed": (1, 4, 4)}),
        ("random", {"model.extraction": "random"}),
        ("a-large", {"compression.fixed": (1, 8, 8)}),
        ("linear", {"model.injection": "linear"}),  # here the ratio is a size of parameters
        ("linear-ratio", {"model.injection": "linear", "compression.fixed": (1, 4, 4)}),
    ]
    sweep = points.load(sweep_file(given), workdir=tmp_path, warm_start=6)
    chosen = {point.name: point for point in sweep.points}
    assert {name: point.after for name, point in chosen.items() if point.after} == {
        "a-ratio": "a",
        "a-large": "a-ratio",
    }
    assert chosen["a-ratio"].config.train.init_from == str(tmp_path / "points" / "a")
    assert [chosen[name].config.train.steps for name in ("a", "a-ratio", "a-large")] == [12, 6, 6]
    with pytest.raises(ValueError, match="--warm-start: no two points"):
        points.load(sweep_file(given[:1]), warm_start=0)


@pytest.mark.parametrize("name", ["ablations", "compression_ratio", "model_size"])
def test_the_reports_in_the_docs_are_of_these_sweeps(name, tmp_path):
    text = (ROOT / "docs" / "sweeps" / f"{name}.html").read_text()
    sweep = points.load(f"configs/sweeps/{name}.py", workdir=tmp_path)
    assert f"{len(sweep.points)} of {len(sweep.points)} runs are done." in text, "run docs/sweeps/make.sh"
    for point in sweep.points:
        assert f'alt="samples of {point.name}, ' in text


def test_a_sweep_may_lie_anywhere(sweep_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "Läufe: 1"
    folder.mkdir()
    shutil.copyfile(sweep_file([("a", {})]), folder / "tiny.py")
    for text in (f"~/{folder.name}/tiny.py", f"{folder}/tiny.py", f"~/{folder.name}/tiny.py:digits"):
        assert points.load(text).name == "tiny"
    with pytest.raises(ValueError, match="'large' is unknown"):
        points.load(f"~/{folder.name}/tiny.py:large")


@pytest.mark.parametrize(
    ("flag", "code", "rule"),
    [
        ("--workdir=~/file", 1, "file is no folder"),
        ("--workdir=/sys/a", 1, "cannot be written: "),
        ("--memory=nan", 2, "--memory=nan must be positive, in GiB, or 0"),
        ("--memory=inf", 2, "--memory=inf must be positive, in GiB, or 0"),
    ],
)
def test_the_command_is_checked_before_anything_is_planned(
    sweep_file, tmp_path, monkeypatch, capsys, flag, code, rule
):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(plans, "plan", lambda *args, **kwargs: pytest.fail("too late"))
    assert cli.run(lambda: sweep.main(*sweep.parse([sweep_file([("a", {})]), flag]))) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert rule in line


LIVE = {"data.text": "live", "text_encoder.path": "bytes", "model.text_dim": 128}


def text_sweep(sweep_file):
    return points.load(sweep_file([("stored", {}), ("live", LIVE)], base="configs/t2i_digits.py"))


def test_tables_of_a_sweep_hold_what_text_costs(sweep_file):
    made = text_sweep(sweep_file)
    lines = [line for line in plans.report(made, {}, 1).splitlines() if line.startswith("|")]
    assert lines[0].split("|")[-2].strip() == "text"
    assert re.search(r"stored, [\d.]+ TB for 50 M captions", lines[2])
    assert re.search(r"live, \d+ MiB a device, \+[\d.]+% of a step", lines[3])
    stored, live = tables.collect(made, {}).to_pylist()
    assert (stored["text"], stored["text_mib"], live["text"]) == ("stored", 0, "live")
    assert live["text_mib"] > 0 < live["text_share"]
    assert stored["text_terabytes"] > 0 == live["text_terabytes"]
    assert "text" not in tables.collect(points.load(sweep_file([("a", {})])), {}).column_names


@pytest.mark.full
def test_a_step_with_its_text_live_is_planned_with_its_encoder(sweep_file):
    live = text_sweep(sweep_file).points[1].config
    encoder = text_cost.columns(live)["text_mib"] * 2**20
    assert compiler.answer_of(live, None, encoder, 1)["memory"] > encoder  # too much, before it is compiled
    planned = compiler.answer_of(live, None, 0.0, 1)
    assert planned["memory"] > encoder + 4 * counts.count(live).parameters
    assert planned["step_seconds"] > 0
