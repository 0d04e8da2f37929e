"""`python -m ptdit_jax.analyze` from checkpoints to tables, numbers and pictures, and what it refuses."""

import csv
import json

import jax
import numpy as np
import pytest
from PIL import Image

from data_pipelines import open_source
from ptdit_jax import cli
from ptdit_jax.analyze import __main__ as analyze
from ptdit_jax.analyze import capture, lattice, redundancy, runs
from ptdit_jax.analyze.borders import lattice as ratios
from ptdit_jax.analyze.regions import regions
from ptdit_jax.analyze.similarity import redundancy as redundancy_of
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import generate, labels_in_turn
from ptdit_jax.experiment.origin import Origin
from ptdit_jax.parallel.mesh import make_mesh
from tests.analyze.conftest import parameters, small


def run(*words):
    """The exit code of a command."""
    return cli.run(lambda: analyze.main(analyze.parse(list(map(str, words)))))


def test_redundancy_of_a_run(saved, tmp_path, capsys):
    config = small()
    place, params = saved("dit", config)
    words = (
        "--times=0.3,0.8",
        "--layers=1",
        "--count=3",
        "--batch=2",
        "--seed=4",
        f"--out={tmp_path / 'out'}",
    )
    assert run("redundancy", f"--checkpoint={place}", *words) == 0
    shown = capsys.readouterr().out
    assert "ema_0.9 of" in shown
    told = json.loads((tmp_path / "out" / "redundancy.json").read_text())
    assert (told["count"], told["window"], told["grid"]) == (3, [1, 2, 2], [1, 8, 8])
    rows = told["figures"]
    assert [(row["layer"], row["time"], row["keys"]) for row in rows] == [
        (1, time, keys) for time in (0.3, 0.8) for keys in ("far", "near")
    ]
    with (tmp_path / "out" / "redundancy.csv").open() as file:
        table = list(csv.DictReader(file))
    for row, line in zip(rows, table, strict=True):
        assert {name: str(value) for name, value in row.items()} == line
        assert f"{row['cosine_same']:.3f}" in shown
    for time in ("0.3", "0.8"):
        with Image.open(tmp_path / "out" / f"redundancy_t{time}.png") as picture:
            assert min(picture.size) > 100

    # All records together, noised by hand.
    records = runs.records(config, 3, seed=4)
    x0 = np.stack([record["x"] for record in records])
    x = 0.2 * x0 + 0.8 * np.random.default_rng(4).standard_normal(x0.shape, np.float32)
    watching = jax.jit(capture.make_watching(config, lambda q, k: (q, k), [1]))
    labels = np.array([record["label"] for record in records])
    _, (q, k) = watching(params, x, np.full(3, 0.8, np.float32), labels)
    found = redundancy_of(q[0], k[0], regions((1, 8, 8), (1, 2, 2), seed=4))
    for row, same, other in (
        (rows[2], found.same_far, found.other_far),
        (rows[3], found.same_near, found.other_near),
    ):
        expected = [each.mean() for each in (same.cosine, other.cosine, same.overlap, other.overlap)]
        np.testing.assert_allclose([row[name] for name in redundancy.COLUMNS[4:]], expected, atol=1e-4)
    assert rows[2]["share"] == pytest.approx(float(found.far_share.mean()), abs=1e-4)


@pytest.mark.full
def test_redundancy_of_samples_of_a_text_model(saved):
    place, _ = saved("pixart", small("pixart"))
    words = ("--times=0.5", "--layers=0", "--count=2", "--of=samples")
    assert run("redundancy", f"--checkpoint={place}", *words) == 0
    told = json.loads((place / "analysis" / "redundancy.json").read_text())
    assert told["of"] == "samples"
    assert [row["keys"] for row in told["figures"]] == ["far", "near"]


def test_conditions_are_those_of_the_records():
    config = small("pixart")
    source, mesh = open_source(config.data), make_mesh({"data": 1})
    given = [dict(source[i]) for i in (0, 2000)]
    text, mask = runs.conditions(config, given, mesh)
    for row, record in enumerate(given):
        length = len(record["text"])
        assert mask[row].sum() == length
        np.testing.assert_array_equal(text[row, :length], record["text"])
    np.testing.assert_array_equal(runs.conditions(small(), given, mesh), [each["label"] for each in given])
    assert runs.conditions(small(model__condition="none"), given, mesh) is None
    with pytest.raises(ValueError, match=r"data\.name='digits' has records without text"):
        runs.conditions(small(model__condition="text"), [{"x": given[0]["x"]}], mesh)


def test_lattice_of_two_runs_side_by_side(saved, tmp_path, capsys):
    config = small("ptdit", model__depth=1)
    one, params = saved("ptdit", config)
    other, _ = saved("without", small("ptdit", model__depth=1, model__shift_every=-1), seed=1)
    out = tmp_path / "out"
    assert run("lattice", "--checkpoint", one, other, "--count=6", f"--out={out}", "--seed=5") == 0
    told = json.loads((out / "lattice.json").read_text())
    rows = {(row["run"], row["pictures"]): row for row in told["figures"]}
    assert list(rows) == [(name, what) for name in ("ptdit", "without") for what in ("data", "samples")]
    assert told["runs"]["ptdit"]["window"] == [2, 2]
    made = generate(
        build(config),
        params,
        labels_in_turn(6, 10),
        sampling=config.sampling,
        seed=5,
        mesh=make_mesh({"data": 1}),
    )
    expected = ratios(made, (2, 2), (1, 1))
    found = rows["ptdit", "samples"]
    assert [found[name] for name in expected._fields] == pytest.approx(list(expected), rel=1e-3)
    assert found["over_data"] == pytest.approx(found["mean"] / rows["ptdit", "data"]["mean"])
    assert rows["ptdit", "samples"]["mean"] != rows["without", "samples"]["mean"]
    assert f"{found['mean']:.3f}" in capsys.readouterr().out
    with Image.open(out / "lattice.png") as picture:
        assert min(picture.size) > 100


def test_lattice_without_the_shifted_windows_of_a_run(saved):
    place, _ = saved("ptdit", small("ptdit", model__depth=1))
    words = ("--shifted=both", "--count=4", "--window=4,2")
    assert run("lattice", "--checkpoint", place, *words) == 0
    told = json.loads((place / "analysis" / "lattice.json").read_text())
    assert told["runs"]["ptdit"]["window"] == [4, 2]
    data, on, off = (row["mean"] for row in told["figures"])
    assert len({data, on, off}) == 3


@pytest.mark.parametrize("condition", [pytest.param("class", marks=pytest.mark.full), "text"])
def test_what_is_left_out_is_the_shifted_windows_alone(condition):
    config = small(
        "ptdit", model__depth=1, model__condition=condition, model__text_dim=16, model__text_length=3
    )
    experiment = build(config)
    params = parameters(experiment)
    given = np.arange(2) if condition == "class" else (np.ones((2, 3, 16), np.float32), np.ones((2, 3), bool))
    x = np.random.default_rng(2).standard_normal((2, *experiment.shape), np.float32)
    network = jax.jit(experiment.network)

    def out(params, scale=1.0):
        blocks = params["blocks"][0]
        attention = blocks["shifted_attention"]["attention"]
        other = jax.tree.map(lambda leaf: scale * leaf, attention["v"])
        changed = blocks | {"shifted_attention": {"attention": attention | {"v": other}}}
        params = params | {"blocks": {0: changed}}
        keys = jax.random.split(jax.random.key(0), 2)
        return np.asarray(network(params, x, np.full(2, 0.5, np.float32), given, keys))

    off = lattice.without_shift(params)
    np.testing.assert_array_equal(out(off), out(off, scale=3.0))
    assert np.abs(out(params) - out(params, scale=3.0)).max() > 1e-3
    assert np.abs(out(params) - out(off)).max() > 1e-3
    kept = jax.tree.map(lambda one, other: bool((one == other).all()), params, off)
    assert kept["time_embedding"]["linear_2"] == {"bias": True, "kernel": True}


def test_records_are_drawn_once_each():
    config = small()
    found = runs.records(config, 50, seed=1)
    source = open_source(config.data)
    numbers = np.random.default_rng(1).permutation(len(source))[:50]
    np.testing.assert_array_equal([each["x"] for each in found], [source[int(i)]["x"] for i in numbers])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("redundancy", "--checkpoint=PLACE/ptdit"),
            "has model.family='ptdit', whose tokens do not all attend",
        ),
        (("redundancy", "--checkpoint=PLACE"), "holds no checkpoint"),
        (
            ("redundancy", "--checkpoint=PLACE/dit", "--times=0.5,1"),
            "--times=0.5,1 must be numbers between 0",
        ),
        (("redundancy", "--checkpoint=PLACE/dit", "--times=late"), "--times=late must be numbers between 0"),
        (
            ("redundancy", "--checkpoint=PLACE/dit", "--layers=0,2"),
            "--layers=0,2 must be all, or numbers from 0 to 1",
        ),
        (
            ("redundancy", "--checkpoint=PLACE/dit", "--window=3,2"),
            "--window=1,3,2 must divide the grid of (1, 8, 8)",
        ),
        (("redundancy", "--checkpoint=PLACE/dit", "--window=2x2"), "--window=2x2 must be tokens"),
        (("redundancy", "--checkpoint=PLACE/dit", "--count=0"), "--count=0 must be at least 1"),
        (
            ("redundancy", "--checkpoint=PLACE/dit", "--count=2000"),
            "--count=2000: data.name='digits' has 1797 records",
        ),
        (("redundancy", "--checkpoint=PLACE/dit", "--ema=0.5"), "ema_0.5"),
        (("lattice", "--checkpoint", "PLACE/ptdit", "PLACE/ptdit"), "folders must have different names"),
        (("lattice", "--checkpoint", "PLACE/dit", "--shifted=off"), "has no shifted windows"),
        (
            ("lattice", "--checkpoint", "PLACE/dit", "--window=8,8"),
            "windows of 8x8 tokens cover the grid of 8x8",
        ),
        (("lattice", "--checkpoint", "PLACE/dit", "--seed=-1"), "--seed=-1 must be in [0, 2**32)"),
    ],
)
def test_what_is_wrong_is_one_line(words, line, saved, capsys):
    places = [saved("dit", small())[0], saved("ptdit", small("ptdit", model__depth=1))[0]]
    assert run(*(word.replace("PLACE", str(places[0].parent)) for word in words)) in (1, 2)
    error = capsys.readouterr().err
    assert line in error
    assert error.count("error:") == error.count("\n") == 1


def run_of(config, place):
    """A run without parameters."""
    return Origin("a", "params", "a", config, place, place, lambda *_: None)


def test_latents_have_no_pixels_without_an_autoencoder(saved):
    config = small("ptdit", data__pixels_per_latent=8)
    with pytest.raises(ValueError, match="its config names no autoencoder: --space must be latents"):
        lattice.plan(run_of(config, saved), None, "pixels", ("on",))


def test_a_run_of_several_windows_needs_one(tmp_path):
    by_time = ((0.0, 0.5, (1, 2, 2)), (0.5, 1.0, (1, 4, 4)))
    run = run_of(small("ptdit", compression__by_time=by_time), tmp_path)
    with pytest.raises(ValueError, match="has a window for each time; choose one with --window"):
        lattice.plan(run, None, "latents", ("on",))
    assert lattice.plan(run, (1, 2, 4), "latents", ("on",)).window == (2, 4)


def test_a_window_in_pixels_is_compression_times_patch_times_factor(tmp_path, monkeypatch):
    config = small("ptdit", model__patch=2, data__pixels_per_latent=8)
    monkeypatch.setattr(lattice, "is_drawn", lambda config: True)
    run = run_of(config, tmp_path)
    assert lattice.plan(run, None, "pixels", ("on",)).window == (32, 32)
    assert lattice.plan(run, None, "latents", ("on",)).window == (4, 4)
    assert lattice.plan(run, (1, 1, 2), "pixels", ("on",)).window == (16, 32)
