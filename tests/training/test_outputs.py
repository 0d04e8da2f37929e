"""Outputs are checked before the work, written whole or not at all, and never from samples that are not finite."""

import shutil

import av
import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks import digits_quality
from data_pipelines.sources import digit_scans
from ptdit_jax import cli, plots, train
from ptdit_jax.experiment import origin, results
from ptdit_jax.experiment.build import build
from ptdit_jax.experiment.generate import NotFinite, batches
from ptdit_jax.experiment.generate import generate as generate_samples
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.sample import __main__ as sample
from ptdit_jax.sample import flags
from tests.training.test_sample import command


@pytest.fixture
def too_late(monkeypatch):
    """Nothing may be loaded or compiled."""
    for place, name in ((origin, "load_params"), (sample, "Steps"), (sample, "batches")):
        monkeypatch.setattr(place, name, lambda *args, **kwargs: pytest.fail("too late"))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("flag", ["--guidance", "--ema"])
def test_numbers_are_finite(trained, too_late, flag, value, capsys):
    assert cli.run(lambda: command(trained, f"{flag}={value}")) == cli.USER_ERROR
    assert capsys.readouterr().err == f"error: {flag}={value} must be a finite number\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("--out", "a.pdf"),
            2,
            "--out=a.pdf must end in one of .png, .jpg, .jpeg, .bmp, .tif, .tiff, .gif, .webp",
        ),
        (("--out", "a"), 2, "--out=a must end in one of .png"),
        (("--out", "folder"), 2, "--out=folder is a folder"),
        (("--out", "folder.png"), 2, "--out=folder.png is a folder"),
        (("--out", "file/a.png"), 1, "/file is no folder"),
        (("--out", "none/a.png"), 1, "/none does not exist"),
        (("--out", "/sys/a.png"), 1, "--out=/sys/a.png cannot be written: "),
        (("--npz", "folder"), 2, "--npz=folder is a folder"),
        (("--npz", "a.png"), 2, "--npz=a.png must end in one of .npz"),
        (("--npz", "/sys/a.npz"), 1, "--npz=/sys/a.npz cannot be written: "),
        (("--out", "a.png", "--npz", "folder"), 2, "--npz=folder is a folder"),
        (("--out", "a.webp", "--count", "60000"), 2, "a.webp: 60000 samples are a picture of "),
        (("--npz", "a.npz", "--text", "a.npz"), 2, "--npz=a.npz is the file of --text"),
    ],
)
def test_outputs_are_checked_first(
    trained, too_late, tmp_path, monkeypatch, capsys, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    assert cli.run(lambda: command(trained, *arguments)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "folder.png"]


@pytest.fixture
def ready_made(monkeypatch):
    """Samples that nothing has to be compiled for."""
    images = np.random.default_rng(0).uniform(-1, 1, (4, 1, 2, 8, 8)).astype(np.float32)
    monkeypatch.setattr(origin, "load_params", lambda *args: None)
    monkeypatch.setattr(sample, "batches", lambda *args, **kwargs: iter([(np.arange(4), images)]))
    return images


@pytest.mark.parametrize("suffix", [*flags.SUFFIXES, ".PNG", ".Jpg", ".NPY"])
def test_every_suffix_is_written(trained, ready_made, tmp_path, suffix):
    assert command(trained, "--count", 4, "--frames", 2, "--out", tmp_path / f"a{suffix}") == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]
    if suffix == ".mp4":
        with av.open(str(tmp_path / "a.mp4")) as film:
            assert film.streams.video[0].frames == 2
        return
    if suffix.lower() == ".npy":
        np.testing.assert_array_equal(np.load(tmp_path / f"a{suffix}"), ready_made)
        return
    with Image.open(tmp_path / f"a{suffix}") as picture:
        assert picture.format == (plots.STILL | plots.MOVING)[suffix.lower()]
        assert getattr(picture, "n_frames", 1) == (2 if suffix in plots.MOVING else 1)


def test_an_output_that_fails_leaves_the_other_and_no_half(trained, ready_made, tmp_path, monkeypatch):
    def fails(images, labels, path, **options):
        path.write_text("half of i")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(plots, "sample_grid", fails)
    arguments = ("--count", 4, "--frames", 2, "--out", tmp_path / "a.png", "--npz", tmp_path / "a.npz")
    assert cli.run(lambda: command(trained, *arguments)) == cli.FAILURE
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_what_was_sampled_before_is_kept(trained, ready_made, tmp_path, monkeypatch, capsys):
    def fails(*args, **kwargs):
        yield np.arange(2), ready_made[:2]
        yield np.arange(2, 4), ready_made[2:]
        raise NotFinite("2 of 2 samples made together are not finite", ready_made[:0])

    monkeypatch.setattr(sample, "batches", fails)
    assert cli.run(lambda: command(trained, "--count", 6, "--out", tmp_path / "a.png")) == cli.FAILURE
    kept = tmp_path / "a.first-4.npy"
    assert capsys.readouterr().err == (
        f"error: 2 of 2 samples made together are not finite; the 4 made before are in {kept}\n"
    )
    np.testing.assert_array_equal(np.load(kept), ready_made)
    assert list(tmp_path.iterdir()) == [kept]


def test_parameters_that_are_not_finite_draw_nothing(trained, tmp_path, tiny, capsys, monkeypatch):
    """Neither in a command nor at the end of a run."""

    def spoilt(make):
        infinite = lambda params: jax.tree.map(lambda leaf: leaf * np.inf, params)  # noqa: E731
        return lambda built, params, *args, **kwargs: make(built, infinite(params), *args, **kwargs)

    monkeypatch.setattr(sample, "batches", spoilt(batches))
    monkeypatch.setattr(results, "generate", spoilt(generate_samples))
    out = f"--out={tmp_path}/a.png"
    assert cli.run(lambda: command(trained, "--count=2", out)) == cli.FAILURE
    rule = "error: 2 of 2 samples made together are not finite, the first (label 0) since evaluation 1 of 2, at t = 1 "
    assert rule in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "samples.png").unlink()
    fields = {"train__steps": 6, "evaluation__name": "none", "sampling__count": 2, "sampling__batch": 2}
    assert cli.run(lambda: train.main(tiny(**fields)[0], tmp_path / "run")) == cli.FAILURE
    assert rule in capsys.readouterr().err
    assert not (tmp_path / "run" / "samples.png").exists()


@pytest.mark.parametrize(("finite", "drawn"), [(0, False), (19, False), (20, True), (30, True)])
def test_the_end_of_a_run_draws_what_it_may_and_judges_nothing(tiny, tmp_path, monkeypatch, finite, drawn):
    config, _ = tiny()

    def fails(*args, **kwargs):
        raise NotFinite("not finite", np.zeros((finite, 1, 1, 8, 8), np.float32))

    monkeypatch.setattr(results, "generate", fails)
    (tmp_path / "metrics.csv").write_text("step,loss\n1,0.5\n")
    with pytest.raises(NotFinite):
        results.finish(config, tmp_path, build(config), None, make_mesh(config.mesh))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"metrics.csv", "loss.png"} | ({"samples.png"} if drawn else set())


def test_a_benchmark_goes_on_after_samples_that_are_not_finite(trained, monkeypatch, capsys):
    scans, digits = digit_scans()

    def ready(experiment, params, labels, *, sampling, **kwargs):
        if sampling.guidance == 3:
            raise NotFinite("not finite at 3", np.empty((0, 1, 1, 8, 8)))
        return np.stack([scans[digits == label][turn // 10] for turn, label in enumerate(labels)])[
            :, None, None
        ]

    monkeypatch.setattr(digits_quality, "load_params", lambda *args: None)
    monkeypatch.setattr(digits_quality, "generate", ready)
    arguments = [f"--checkpoint={trained}", "--guidance=2,3,4", "--count=20"]
    assert cli.run(lambda: digits_quality.main(arguments)) == cli.FAILURE
    out, err = capsys.readouterr()
    assert err == "error: not finite at 3\n"
    rows = [line.split(" | ")[3] for line in out.splitlines() if line.startswith("| ")]
    assert [row.strip() for row in rows] == ["recognised", "100.0%", "not finite", "100.0%"]
