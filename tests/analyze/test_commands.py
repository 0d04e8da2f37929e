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
from ptdit_jax.analyze import lattice, redundancy, runs
from ptdit_jax.analyze.borders import lattice as ratios
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import generate, labels_in_turn
from ptdit_jax.parallel.mesh import make_mesh
from tests.analyze.conftest import parameters, small


def run(*words):
    """The exit code of a command."""
    return cli.run(lambda: analyze.main(analyze.parse(list(map(str, words)))))


def test_redundancy_of_a_run(saved, tmp_path, capsys):
    place, _ = saved("dit", small())
    words = ("--times=0.3,0.8", "--layers=1", "--count=3", "--batch=2", f"--out={tmp_path / 'out'}")
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
    assert [float(row["cosine_same"]) for row in table] == [row["cosine_same"] for row in rows]
    for row in rows:
        assert all(0 < row[name] <= 1 for name in redundancy.COLUMNS[3:])
        assert f"{row['cosine_same']:.3f}" in shown
    assert rows[0]["share"] + rows[1]["share"] == pytest.approx(1)
    for time in ("0.3", "0.8"):
        with Image.open(tmp_path / "out" / f"redundancy_t{time}.png") as picture:
            assert min(picture.size) > 100


def test_redundancy_is_that_of_each_record_alone(saved):
    """The last batch is filled up, and what fills it does not count."""
    place, _ = saved("dit", small())
    for batch in (3, 2):
        assert run("redundancy", f"--checkpoint={place}", "--times=0.5", "--count=3", f"--batch={batch}") == 0
        figures = json.loads((place / "analysis" / "redundancy.json").read_text())["figures"]
        found = np.array([[row[name] for name in redundancy.COLUMNS[3:]] for row in figures])
        if batch == 3:
            together = found
    np.testing.assert_allclose(found, together, atol=1e-5)


def test_redundancy_of_samples_and_of_a_text_model(saved):
    place, _ = saved("pixart", small("pixart"))
    numbers = []
    for source in ("data", "samples"):
        words = ("--times=0.5", "--layers=0", "--count=2", f"--of={source}")
        assert run("redundancy", f"--checkpoint={place}", *words) == 0
        told = json.loads((place / "analysis" / "redundancy.json").read_text())
        assert told["of"] == source
        numbers.append(told["figures"][0]["cosine_same"])
    assert numbers[0] != numbers[1]


def test_lattice_of_two_runs_side_by_side(saved, tmp_path, capsys):
    config = small("ptdit")
    one, params = saved("ptdit", config)
    other, _ = saved("without", small("ptdit", model__shift_every=-1), seed=1)
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
    place, _ = saved("ptdit", small("ptdit"))
    words = ("--shifted=both", "--count=4", "--window=4,2")
    assert run("lattice", "--checkpoint", place, *words) == 0
    told = json.loads((place / "analysis" / "lattice.json").read_text())
    assert told["runs"]["ptdit"]["window"] == [4, 2]
    data, on, off = (row["mean"] for row in told["figures"])
    assert len({data, on, off}) == 3


@pytest.mark.parametrize("condition", ["class", "text"])
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
    places = [saved(family, small(family))[0] for family in ("dit", "ptdit")]
    assert run(*(word.replace("PLACE", str(places[0].parent)) for word in words)) in (1, 2)
    error = capsys.readouterr().err
    assert line in error
    assert error.count("error:") == error.count("\n") == 1


def test_latents_have_no_pixels_without_an_autoencoder(saved):
    config = small("ptdit", data__pixels_per_latent=8)
    with pytest.raises(ValueError, match="its config names no autoencoder: --space must be latents"):
        lattice.plan(runs.Run("a", config, saved, "params"), None, "pixels", ("on",))


def test_a_window_in_pixels_is_compression_times_patch_times_factor(tmp_path, monkeypatch):
    config = small("ptdit", model__patch=2, data__pixels_per_latent=8)
    monkeypatch.setattr(lattice, "is_drawn", lambda config: True)
    run = runs.Run("a", config, tmp_path, "params")
    assert lattice.plan(run, None, "pixels", ("on",)).window == (32, 32)
    assert lattice.plan(run, None, "latents", ("on",)).window == (4, 4)
    assert lattice.plan(run, (1, 1, 2), "pixels", ("on",)).window == (16, 32)
