"""Runs of two and four real processes: the same numbers as one, whatever happens to one of them."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from ptdit_jax import cli
from tests.training import runs

STEPS = 20
SHORT = {"evaluation__name": "none", "sampling__count": 1, "train__steps": STEPS}


@pytest.fixture
def start(environment):
    """A function that starts two processes under `launch/processes.py`, as `launch/run.sh --simulate 2` does."""

    def start(workdir, arguments, *flags, module=("-m", "ptdit_jax.train")):
        train = [
            sys.executable,
            *module,
            "--config=configs/c2i_digits.py",
            f"--workdir={workdir}",
            *arguments,
        ]
        return subprocess.Popen(
            [sys.executable, "launch/processes.py", "--processes=2", *flags, "--", *train],
            cwd=runs.ROOT,
            env=os.environ | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return start


def member(supervisor, number):
    """The id of process `number` of those that run."""
    children = f"/proc/{supervisor.pid}/task/{supervisor.pid}/children"
    for child in Path(children).read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        if "--process-id" in words and words[words.index("--process-id") + 1] == str(number):
            return int(child)
    raise AssertionError(f"process {number} does not run")


def finish(process, code):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return [line for line in output.splitlines() if "%|" not in line]


def table(workdir):
    with (workdir / "metrics.csv").open() as file:
        return {name: np.array(column, float) for name, *column in zip(*csv.reader(file), strict=True)}


@pytest.fixture(scope="module")
def reference(tmp_path_factory, tiny, environment):
    """The folder of a run of one process."""
    workdir = tmp_path_factory.mktemp("reference") / "run"
    runs.run(workdir, tiny(**SHORT)[1], **environment)
    return workdir


def assert_same_losses(workdir, reference, steps=STEPS):
    ours, theirs = table(workdir), table(reference)
    assert list(ours) == list(theirs)
    for name in ("step", "loss", "grad_norm", "param_norm", "learning_rate"):
        np.testing.assert_allclose(ours[name][:steps], theirs[name][:steps], rtol=1e-5, err_msg=name)


def test_a_lost_process_ends_the_other_and_restarts_give_the_losses_of_one_process(
    reference, tmp_path, tiny, start
):
    workdir = tmp_path / "run"
    process = start(workdir, tiny(**SHORT)[1], "--max-restarts=1")
    saved = lambda: any(name.isdigit() for name in runs.checkpoints(workdir))  # noqa: E731
    runs.wait_until(process, lambda: runs.rows(workdir) >= 7 and saved())
    os.kill(member(process, 1), signal.SIGKILL)
    lines = finish(process, 0)
    assert "[p0] error: process 1 was lost; process 0 ends too" in lines
    assert "[processes.py] exit code 75; restart 1 of 1" in lines
    assert any(
        re.fullmatch(r"\[p0\] ptdit: .* 2 device\(s\), from .*/checkpoints/\d+", line) for line in lines
    )
    assert sum(f"trained {STEPS} steps" in line for line in lines) == 1  # process 0 alone reports
    assert_same_losses(workdir, reference)
    assert (workdir / "samples.png").exists()


def test_sigterm_to_one_stops_both_and_the_loss_of_process_0_ends_the_other(reference, tmp_path, tiny, start):
    workdir, arguments = tmp_path / "run", tiny(**SHORT)[1]
    process = start(workdir, arguments)
    runs.wait_until(process, lambda: runs.rows(workdir) >= 6)
    os.kill(member(process, 1), signal.SIGTERM)
    lines = finish(process, 143)
    saved = max(map(int, runs.checkpoints(workdir)))
    assert (
        f"[p0] SIGTERM: saved in {workdir}/checkpoints/{saved}; the same command goes on from there" in lines
    )
    assert runs.rows(workdir) == saved < STEPS
    assert not any("error" in line for line in lines)

    process = start(workdir, arguments)
    runs.wait_until(process, lambda: runs.rows(workdir) >= saved + 2)
    killed = time.monotonic()
    os.kill(member(process, 0), signal.SIGKILL)
    lines = finish(process, 75)
    assert time.monotonic() - killed < 60
    lost = "[p1] error: process 0 was lost (it connects the others); process 1 ends too"
    assert lost in lines, "\n".join(lines)
    assert_same_losses(workdir, reference, steps=saved + 2)


@pytest.mark.full  # three processes that compile the sampler
def test_two_processes_judge_the_average_as_one_does(tmp_path, tiny, start, environment):
    fields = SHORT | {"train__steps": 6, "evaluation__name": "digits", "evaluation__every": 3}
    arguments = tiny(**fields, checkpoint__keep=1)[1]
    lines = finish(start(tmp_path / "two", arguments), 0)
    runs.run(tmp_path / "one", arguments, **environment)
    for name in ("frechet_distance", "recognition", "recall"):
        two, one = (
            np.genfromtxt(tmp_path / each / "metrics.csv", delimiter=",", names=True)[f"evaluation_{name}"]
            for each in ("two", "one")
        )
        assert np.isnan(two).tolist() == [True, True, False] * 2
        np.testing.assert_allclose(two, one, rtol=1e-3, atol=0.03)
    assert runs.checkpoints(tmp_path / "two") == runs.checkpoints(tmp_path / "one")
    said = [line for line in lines if "] step 3: " in line]
    assert [line[:4] for line in said] == ["[p0]"]


@pytest.mark.full
def test_two_processes_start_with_the_average_of_another_run(reference, tmp_path, tiny, start):
    """But for what does not fit, which both refuse until it is named."""
    fields = SHORT | {
        "train__steps": 1,
        "train__init_from": reference,
        "train__init_ema": 0.99,
        "mesh__fsdp": 2,
    }
    fields |= {"optimizer__learning_rate": 1e-30, "model__classes": 12}
    lines = finish(start(tmp_path / "run", tiny(**fields)[1]), cli.USER_ERROR)
    misfit = "class_embedding.table: (11, 32) found, (13, 32) wanted"  # of the first to see it
    assert any(line.endswith(misfit) for line in lines), "\n".join(lines)
    skip = {"train__init_skip": ("class_embedding.*",)}
    finish(start(tmp_path / "run", tiny(**fields | skip)[1]), 0)
    ours = runs.numbers(tmp_path / "run" / "checkpoints" / "1")
    theirs = runs.numbers(reference / "checkpoints" / str(STEPS), "ema_0.99")
    assert ours.pop("class_embedding")["table"].shape == (13, 32)
    assert theirs.pop("class_embedding")["table"].shape == (11, 32)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-25), ours, theirs)


@pytest.mark.full  # seven processes that each start and compile
def test_a_checkpoint_of_four_processes_goes_on_with_two_and_with_one(
    reference, tmp_path, tiny, start, environment
):
    """Each on another mesh; the last has two devices."""
    workdir, arguments = tmp_path / "run", tiny(**SHORT)[1]

    def train_on(rows, mesh, *flags):  # ended by a signal, no process compiles the sampler
        process = start(workdir, [*arguments, *(f"--config.mesh.{axis}=2" for axis in mesh)], *flags)
        runs.wait_until(process, lambda: runs.rows(workdir) >= rows)
        os.kill(member(process, 0), signal.SIGTERM)
        finish(process, 143)
        assert rows <= runs.rows(workdir) < STEPS

    train_on(4, ("fsdp", "context"), "--processes=4")
    train_on(9, ("tensor",))
    flags = f"{environment['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    runs.run(workdir, [*arguments, "--config.mesh.context=2"], **environment | {"XLA_FLAGS": flags})
    assert_same_losses(workdir, reference)


def test_a_hung_step_ends_every_process_with_the_stacks_of_all(tmp_path, tiny, start):
    """The loader of process 1 never gives its fifth batch; process 0 waits for process 1 in its step."""
    workdir = tmp_path / "run"
    process = start(workdir, [*tiny(**SHORT)[1], "--step-timeout=8"], module=("-m", "tests.launch.hang"))
    lines = finish(process, 76)
    for number, where in enumerate(("train", "never")):
        report = (workdir / f"hang-p{number}.txt").read_text()
        assert re.search(rf"in {where}$", report, re.MULTILINE), report
        assert f"hang-p{number}.txt" in "".join(
            line for line in lines if line.startswith(f"[p{number}] error: step")
        )
    assert runs.rows(workdir) <= 5


def test_a_process_that_never_comes_is_named(tmp_path, tiny):
    flags = ["--coordinator=127.0.0.1:7391", "--processes=3", "--process-id=0", "--start-timeout=1"]
    output = runs.run(tmp_path / "run", [*tiny(**SHORT)[1], *flags], expect=75)
    assert output == "error: processes 1, 2 of 0 to 2 did not come within 1 s (--start-timeout)\n"


def test_a_process_that_comes_and_is_too_slow_is_named_by_all(tmp_path, tiny, start):
    process = start(tmp_path / "run", tiny(**SHORT)[1], module=("-m", "tests.launch.slow", "600", "2"))
    lines = finish(process, 75)
    error = "error: process 1 of 0 to 1 did not come to start JAX's devices within 2 s (--start-timeout)"
    assert f"[p0] {error}" in lines
    assert "[p1] error: process 1 came too late for the others (--start-timeout)" in lines
    assert sum("error" in line for line in lines) == 2
    assert not any("Traceback" in line for line in lines)


@pytest.mark.full
def test_processes_that_wait_longer_than_libraries_let_them_train_all_the_same(
    reference, tmp_path, tiny, start
):
    """Gloo gives others 30 seconds when it connects them, and XLA 40 to the devices of one process."""
    workdir = tmp_path / "run"
    process = start(workdir, tiny(**SHORT)[1], "--devices=2", module=("-m", "tests.launch.slow", "45", "0"))
    finish(process, 0)
    assert_same_losses(workdir, reference)


def test_the_error_of_a_library_about_another_process_is_none_of_the_user(capsys):
    def broken():
        raise ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer [127.0.0.1]:29881")

    with pytest.raises(ValueError, match="Gloo"):  # and `distributed.run` waits for who has ended
        cli.run(broken)
    assert capsys.readouterr().err == ""


def test_an_error_of_all_is_told_by_all_and_starts_nothing_again(tmp_path, tiny, start):
    workdir = tmp_path / "run"
    process = start(workdir, [*tiny(**SHORT)[1], "--config.data.batch=3"], "--max-restarts=3")
    lines = finish(process, 2)
    for number in (0, 1):
        assert sum(line.startswith(f"[p{number}] error: data.batch=3") for line in lines) == 1
    (devices,) = (line for line in lines if "devices: " in line)  # once for both
    assert re.match(r"\[p0\] devices: 2 x cpu, [\d.]+ GiB of host memory, 2 processes", devices)
    assert not any("restart" in line for line in lines)


def test_one_process_is_started_again_too(tmp_path):
    """With its output as it is: nothing is between a terminal and the progress bar."""
    script = tmp_path / "fails_twice.py"
    script.write_text(
        "import pathlib, sys\n"
        "path = pathlib.Path(__file__).with_suffix('.txt')\n"
        "attempt = int(path.read_text()) if path.exists() else 0\n"
        "path.write_text(str(attempt + 1))\n"
        "print('attempt', attempt)\n"
        "sys.exit(0 if attempt == 2 else 1)\n"
    )
    command = [sys.executable, "launch/processes.py", "--max-restarts=5", "--", sys.executable, str(script)]
    done = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout == "attempt 0\nattempt 1\nattempt 2\n"
