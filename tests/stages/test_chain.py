"""Chains of real runs, undisturbed and killed at any moment: the same losses and parameters."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ptdit_jax.training.state import ema_name
from tests.training import runs

pytestmark = pytest.mark.full
NAMES = ("small", "large", "films")
STAGES = [
    ("small", "", {}),
    ("large", "small", {"data.height": 16, "data.width": 16, "train.init_ema": 0.9}),
    (
        "films",
        "large",
        {
            "data.name": "moving_digits",
            "data.frames": 4,
            "data.height": 16,
            "data.width": 16,
            "data.batch": 8,
        },
    ),
]
KILLS = 6


@pytest.fixture(scope="module")
def file(recipe_file):
    return recipe_file(STAGES)


def start(file, workdir, environment, *before, flags=()):
    return subprocess.Popen(
        [sys.executable, *before, "-m", "ptdit_jax.stages", file, f"--workdir={workdir}", *flags],
        cwd=runs.ROOT,
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process, code=0):
    output, _ = process.communicate(timeout=600)
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="module")
def undisturbed(file, environment, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    output = finish(start(file, workdir, environment))
    assert "[3/3] films starts from large" in output
    return workdir


def last(workdir, name):
    return runs.contents(workdir / name / "checkpoints" / "12")


def assert_same(workdir, undisturbed):
    for name in NAMES:
        ours, theirs = ((folder / name / "metrics.csv").read_bytes() for folder in (workdir, undisturbed))
        assert ours == theirs
        ours, theirs = last(workdir, name), last(undisturbed, name)
        assert ours.keys() == theirs.keys()
        for part in ("params", ema_name(0.9), "train"):
            flat, expected = (dict(_leaves(tree[part])) for tree in (ours, theirs))
            assert flat.keys() == expected.keys()
            for leaf, value in flat.items():
                np.testing.assert_array_equal(value, expected[leaf], err_msg=f"{name} {part} {leaf}")


def _leaves(tree, path=()):
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for key, value in enumerate(tree):
            yield from _leaves(value, (*path, key))
    else:
        yield path, np.asarray(tree)


def test_a_chain_killed_within_and_between_stages_ends_as_one_that_was_not(
    file, environment, undisturbed, tmp_path
):
    draw = random.Random(0)
    places = [(name, row) for name in NAMES for row in (0, 4, 7, 12)]
    for name, row in sorted(draw.sample(places, KILLS), key=places.index):
        process = start(file, tmp_path, environment)
        folder = tmp_path / name
        if row == 12:  # its steps are done, its results or the next stage are being made
            runs.wait_until(process, lambda folder=folder: (folder / "samples.png").exists())
        elif row:
            runs.wait_until(process, lambda folder=folder, row=row: runs.rows(folder) >= row)
        else:
            runs.wait_until(process, lambda folder=folder: (folder / "stage.json").exists())
        process.kill()
        process.communicate()
    finish(start(file, tmp_path, environment))
    assert_same(tmp_path, undisturbed)
    assert "done: " in finish(start(file, tmp_path, environment))


def test_sigterm_saves_and_ends_with_143(file, environment, undisturbed, tmp_path):
    process = start(file, tmp_path, environment)
    runs.wait_until(process, lambda: runs.rows(tmp_path / "large") >= 4)
    process.send_signal(signal.SIGTERM)
    output = finish(process, 143)
    assert "SIGTERM: saved in " in output
    assert not (tmp_path / "films").exists()
    finish(start(file, tmp_path, environment))
    assert_same(tmp_path, undisturbed)


def test_two_processes_go_through_the_stages_together_and_survive_a_loss(
    file, environment, undisturbed, tmp_path
):
    group = ("launch/processes.py", "--processes=2", "--max-restarts=1", "--", sys.executable)
    process = start(file, tmp_path, environment, *group)
    saved = lambda: any(name.isdigit() for name in runs.checkpoints(tmp_path / "large"))  # noqa: E731
    runs.wait_until(process, saved)
    os.kill(_train_of(process, 1), signal.SIGKILL)
    output = finish(process)
    assert "[p0] error: process 1 was lost; process 0 ends too" in output
    lines = [line for line in output.splitlines() if "/3] " in line]
    assert [line.split()[2] for line in lines] == ["small", "large", "large", "films"]
    assert "2 device(s)" in output
    for name in NAMES:
        ours, theirs = (
            np.genfromtxt(folder / name / "metrics.csv", delimiter=",", names=True)
            for folder in (tmp_path, undisturbed)
        )
        np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-4)


def _train_of(process, number):
    """The id of the run of process `number`: the child of a child of the one that starts them."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for child in _children(process.pid):
            for run in _children(child):
                words = Path(f"/proc/{run}/cmdline").read_text().split("\0")
                if "ptdit_jax.train" in words and f"--process-id={number}" in words:
                    return run
    raise AssertionError(f"process {number} does not train")


def _children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
