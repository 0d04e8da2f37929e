"""A run as its user has it: killed, stopped, out of disk, diverging, resumed, done."""

import csv
import json
import random
import re
import shutil
import signal

import jax
import numpy as np
import pytest

from ptdit_jax import cli, train
from ptdit_jax.sample import __main__ as sample
from tests.training import runs


@pytest.fixture(scope="module")
def reference(tmp_path_factory, tiny):
    """The folder of a run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("reference") / "run"
    output = runs.run(workdir, tiny()[1])
    assert re.match(r"devices: 1 x cpu, [\d.]+ GiB of host memory", output)  # in its first line
    assert "first step after" in output
    assert "trained 24 steps" in output
    return workdir


def table(workdir):
    with (workdir / "metrics.csv").open() as file:
        return {name: np.array(column) for name, *column in zip(*csv.reader(file), strict=True)}


def assert_same_files(one, other, names):
    for name in names:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def assert_same_run(one, other):
    assert_same_files(one, other, ("metrics.csv", "config.json", "evaluation.json", "samples.png"))
    ours, theirs = (runs.contents(folder / "checkpoints" / "24") for folder in (one, other))
    assert set(ours) == {"params", "ema_0.9", "ema_0.99", "train", "progress", "config"}
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_run_leaves_what_it_should(reference):
    for name in ("loss.png", "samples.png", "evaluation.json", "config.json", "tensorboard"):
        assert (reference / name).exists()
    assert runs.checkpoints(reference) == {"20", "24"}
    figures = table(reference)
    assert list(figures)[:2] == ["step", "loss"]
    np.testing.assert_array_equal(figures["step"].astype(int), np.arange(1, 25))
    loss = figures["loss"].astype(float)
    assert loss[-5:].mean() < loss[:5].mean()
    assert json.loads((reference / "evaluation.json").read_text())["judge_accuracy"] > 0.98


def test_killed_anywhere_a_run_ends_bit_for_bit_as_if_it_never_was(reference, tmp_path, tiny):
    """kill -9 in the middle of a save, right after one and at a step; then SIGTERM; then to the end."""
    workdir, arguments = tmp_path / "run", tiny()[1]
    at_step = random.Random(0).randrange(11, 15)
    kills = {
        "in a save": lambda: any("tmp" in name for name in runs.checkpoints(workdir)),
        "after a save": lambda: "10" in runs.checkpoints(workdir),
        "at a step": lambda: runs.rows(workdir) >= at_step,
    }
    for name, condition in kills.items():
        process = runs.start(workdir, arguments)
        runs.wait_until(process, condition)
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL, name
        process.stdout.close()

    process = runs.start(workdir, arguments)
    runs.wait_until(process, lambda: runs.rows(workdir) >= 17)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 143
    last = max(runs.checkpoints(workdir), key=int)
    assert f"SIGTERM: saved in {workdir}/checkpoints/{last}" in output
    assert runs.rows(workdir) == int(last) < 24

    output = runs.run(workdir, arguments)
    assert f"from {workdir}/checkpoints/{last}" in output
    assert_same_run(workdir, reference)


def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(reference, tmp_path, tiny):
    """Files beyond 60 KiB cannot be written; the run is to go on beyond its end."""
    workdir, arguments = tmp_path / "run", [*tiny()[1], "--config.train.steps=28"]
    shutil.copytree(reference, workdir)
    before = runs.contents(workdir / "checkpoints" / "24")
    limited = ["bash", "-c", 'ulimit -f 60; exec "$@"', "bash"]
    output = runs.run(workdir, arguments, before=limited, expect=1)
    lines = [line for line in output.splitlines() if "rror" in line or "Traceback" in line]
    assert lines == [
        f"error: a checkpoint could not be written in {workdir}/checkpoints: File too large "
        f"(last good checkpoint: {workdir}/checkpoints/24)"
    ]
    jax.tree.map(np.testing.assert_array_equal, runs.contents(workdir / "checkpoints" / "24"), before)
    assert not (workdir / "samples.png").exists()  # those of 24 steps are not those of 28

    output = runs.run(workdir, arguments)
    assert f"from {workdir}/checkpoints/24" in output
    assert (workdir / "samples.png").exists()
    assert runs.rows(workdir) == 28
    assert (workdir / "metrics.csv").read_bytes().startswith((reference / "metrics.csv").read_bytes())


def test_a_run_goes_on_from_before_a_damaged_checkpoint_only_when_told_and_then_bit_for_bit(
    reference, tmp_path, tiny, capsys
):
    """One byte of an array differs.  Whatever reads it says so first; the run may then go on from step 20."""
    workdir = tmp_path / "run"
    shutil.copytree(reference, workdir)
    folder = workdir / "checkpoints"
    largest = max((folder / "24" / "ema_0.9").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    name = largest.relative_to(folder / "24")
    damage = f"checkpoint {folder}/24 is damaged: {name} has other bytes than were written; "

    def error(main):
        assert cli.run(main) == cli.FAILURE
        (line,) = capsys.readouterr().err.splitlines()
        return line

    config, _ = tiny()
    assert error(lambda: train.main(config, workdir)) == (
        f"error: {damage}--config.checkpoint.on_damage=previous goes on from {folder}/20, the newest that is whole"
    )
    whole = f"error: {damage}whole in {folder}: 20"
    arguments = sample.parse(["--checkpoint", str(workdir), "--out", str(tmp_path / "a.png")])
    assert error(lambda: sample.main(arguments)) == whole
    assert runs.checkpoints(workdir) == {"20", "24"}
    assert_same_files(workdir, reference, ["metrics.csv", "config.json", "samples.png"])

    config.checkpoint.on_damage = "previous"
    assert train.main(config, workdir) == 0
    printed = capsys.readouterr()
    assert f"warning: {damage}it is now {folder}/damaged-24, and the run goes on from" in printed.err
    assert f"from {folder}/20" in printed.out
    assert runs.checkpoints(workdir) == {"20", "24", "damaged-24"}
    assert (folder / "damaged-24" / name).read_bytes() == content
    assert_same_files(workdir, reference, ["metrics.csv", "evaluation.json", "samples.png"])
    ours, theirs = (runs.contents(of / "checkpoints" / "24") for of in (workdir, reference))
    assert ours.pop("config") == theirs.pop("config") | {"checkpoint": config.checkpoint.to_dict()}
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_new_run_does_not_start_with_damaged_parameters(reference, tmp_path, tiny, capsys):
    shutil.copytree(reference / "checkpoints", tmp_path / "other" / "checkpoints")
    shutil.rmtree(tmp_path / "other" / "checkpoints" / "24" / "params")
    config, _ = tiny(train__init_from=str(tmp_path / "other"))
    assert cli.run(lambda: train.main(config, tmp_path / "run")) == cli.FAILURE
    folder = tmp_path / "other" / "checkpoints"
    assert capsys.readouterr().err == (
        f"error: checkpoint {folder}/24 is damaged: the folder params is missing; whole in {folder}: 20\n"
    )


def test_four_devices_train_as_one_does_and_their_checkpoint_fits_one(reference, tmp_path, tiny):
    workdir = tmp_path / "run"
    fields = {"mesh__fsdp": 2, "train__steps": 3, "evaluation__name": "none", "sampling__count": 1}
    four = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"  # compiles sooner
    output = runs.run(workdir, tiny(**fields)[1], XLA_FLAGS=four)
    assert "4 device(s)" in output
    fields |= {"mesh__fsdp": 1, "train__steps": 6}
    assert train.main(tiny(**fields)[0], workdir) == 0
    ours, theirs = table(workdir), table(reference)
    for name in ("loss", "grad_norm", "param_norm", "learning_rate"):
        np.testing.assert_allclose(ours[name].astype(float), theirs[name][:6].astype(float), rtol=2e-4)


def test_a_run_that_is_done_makes_only_what_is_missing(reference, tmp_path, tiny, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(reference, workdir)
    (workdir / "samples.png").unlink()
    (workdir / "evaluation.json").write_text('{"text": "kept"}')
    stamps = {path: path.stat().st_mtime_ns for path in (workdir / "checkpoints").rglob("*")}
    assert train.main(tiny()[0], workdir) == 0
    output = capsys.readouterr().out
    assert f"training is done: 24 steps in {workdir}/checkpoints/24" in output
    assert "kept" in output
    assert (workdir / "samples.png").read_bytes() == (reference / "samples.png").read_bytes()
    assert stamps == {path: path.stat().st_mtime_ns for path in (workdir / "checkpoints").rglob("*")}


def test_a_run_can_start_with_the_parameters_of_another(reference, tmp_path, tiny):
    """The norm logged at step 1 is that of the parameters the other run ended with, not of random ones."""
    fields = {"train__steps": 1, "evaluation__name": "none", "sampling__count": 1}
    assert train.main(tiny(train__init_from=str(reference), **fields)[0], tmp_path / "run") == 0
    params = runs.contents(reference / "checkpoints" / "24")["params"]
    norm = np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(params)))
    np.testing.assert_allclose(float(table(tmp_path / "run")["param_norm"][0]), norm, rtol=1e-5)
    assert abs(float(table(reference)["param_norm"][0]) / norm - 1) > 1e-3


def test_another_config_does_not_continue_a_run(reference, tiny):
    config, _ = tiny(optimizer__learning_rate=0.5, data__batch=32, checkpoint__every=7)
    with pytest.raises(ValueError, match="cannot be continued") as caught:
        train.main(config, reference)
    assert "data.batch=32, was 16" in str(caught.value)
    assert "optimizer.learning_rate=0.5, was 0.001" in str(caught.value)
    assert "checkpoint.every" not in str(caught.value)


class Poisoned:
    """A loader whose third batch has a value that is not a number."""

    def __init__(self, loader):
        self.loader = loader

    def __next__(self):
        number = self.get_state()["next_index"]
        batch = next(self.loader)
        if number == 2:
            self.records = batch["index"]
            batch["x"] = batch["x"] + np.float32(np.nan)
        return batch

    def get_state(self):
        """That of the loader."""
        return self.loader.get_state()

    def set_state(self, value):
        """That of the loader."""
        self.loader.set_state(value)


def test_a_bad_step_stops_the_run_or_is_left_out(tmp_path, tiny, monkeypatch, capsys):
    loaders = []

    def poisoned(*arguments, **options):
        loaders.append(Poisoned(make_loader(*arguments, **options)))
        return loaders[-1]

    make_loader = train.make_loader
    monkeypatch.setattr(train, "make_loader", poisoned)
    fields = {"checkpoint__every": 2, "train__steps": 6, "evaluation__name": "none", "sampling__count": 1}
    workdir = tmp_path / "run"
    with pytest.raises(cli.RunError) as caught:
        train.main(tiny(**fields)[0], workdir)
    message = str(caught.value)
    assert message.startswith("step 3: loss nan, gradient norm nan")
    assert "Batch 2 of data.name='digits' with seed=0: 16 records" in message
    assert f"The data are finite; records {loaders[0].records[0]}, " in message
    assert f" and 8 more: all in {workdir}/bad_step_3.json." in message
    written = json.loads((workdir / "bad_step_3.json").read_text())
    assert written["records"] == loaders[0].records.tolist()
    assert f"Last good checkpoint: {workdir}/checkpoints/2." in message
    assert (workdir / "metrics.csv").read_text().splitlines()[-1].startswith("3,nan")

    assert train.main(tiny(**fields, train__on_nonfinite="skip")[0], workdir) == 0
    assert "step 3: loss nan" in capsys.readouterr().out
    figures = table(workdir)
    assert list(figures["skipped"]) == ["0.0", "0.0", "1.0", "0.0", "0.0", "0.0"]
    assert figures["param_norm"][2] == figures["param_norm"][3]
    assert all(np.isfinite(figures["loss"].astype(float)) == (figures["skipped"] == "0.0"))


def test_the_record_that_is_not_finite_is_named(tmp_path, tiny, capsys):
    x = np.random.default_rng(0).normal(size=(200, 1, 8, 8)).astype(np.float32)
    x[77, 0, 3, 3] = np.nan  # between those that are looked at before the start
    np.savez(tmp_path / "data.npz", x=x, label=np.arange(200) % 10)
    fields = {
        "data__name": "arrays",
        "data__path": str(tmp_path),
        "evaluation__name": "none",
        "sampling__count": 1,
    }
    with pytest.raises(cli.RunError) as caught:
        train.main(tiny(**fields)[0], tmp_path / "run")
    assert "Values that are not finite are in record 77." in str(caught.value)
    assert not list((tmp_path / "run").glob("bad_step*"))
    assert "data: mean " in capsys.readouterr().out

    x[0, 0, 0, 0] = np.inf
    np.savez(tmp_path / "data.npz", x=x, label=np.arange(200) % 10)
    with pytest.raises(ValueError, match="values that are not finite in record 0; with"):
        train.main(tiny(**fields)[0], tmp_path / "another")
    assert (
        train.main(
            tiny(**fields, train__on_nonfinite="skip", train__steps=2, optimizer__warmup_steps=1)[0],
            tmp_path / "third",
        )
        == 0
    )
    assert "warning: data.name='arrays': values that are not finite in record 0\n" in capsys.readouterr().err


def test_folders_that_cannot_be_written(tmp_path, tiny, capsys):
    (tmp_path / "file").write_text("")
    assert cli.run(lambda: train.main(tiny()[0], tmp_path / "file" / "run")) == cli.FAILURE
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert str(tmp_path / "file" / "run") in error


def test_a_wrong_config_makes_no_folder(tmp_path, tiny, capsys):
    assert cli.run(lambda: train.main(tiny(model__width=40)[0], tmp_path / "run")) == cli.USER_ERROR
    assert "model.width=40 must be a multiple of 16" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
