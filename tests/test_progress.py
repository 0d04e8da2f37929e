"""Bars on a terminal, lines elsewhere, by a clock of the test's own."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ptdit_jax.progress
from ptdit_jax.progress import SECONDS, Bar, track
from ptdit_jax.training import metrics

ROOT = Path(__file__).parents[1]


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def __call__(self):
        """Seconds."""
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self):
        """It is."""
        return True


@pytest.fixture
def clock():
    return Clock()


def steps(bar, clock, seconds, count):
    """Counts so many units, each of so many seconds."""
    for _ in range(count):
        clock.now += seconds
        bar.update(text=f"loss={bar.done}")


def test_a_line_each_so_many_steps_when_they_are_slow(clock):
    log = io.StringIO()
    with Bar(200, "train", "step", every=50, file=log, clock=clock) as bar:
        steps(bar, clock, SECONDS / 10, 200)
    assert log.getvalue().splitlines() == [
        "train: 50/200 step, loss=49, 2.00step/s, 00:25 gone, 01:15 left",
        "train: 100/200 step, loss=99, 2.00step/s, 00:50 gone, 00:50 left",
        "train: 150/200 step, loss=149, 2.00step/s, 01:15 gone, 00:25 left",
        "train: 200/200 step, loss=199, 2.00step/s, 01:40 gone, 00:00 left",
    ]
    assert "\r" not in log.getvalue()


@pytest.mark.parametrize("per_second", [7, 100, 2500])
def test_lines_of_fast_steps_are_seconds_apart_at_multiples_and_the_last_is_told(clock, per_second):
    log, times, said = io.StringIO(), [], 0
    with Bar(10_001, "train", "step", every=50, file=log, clock=clock) as bar:
        for _ in range(10_001):
            steps(bar, clock, 1 / per_second, 1)
            if (lines := log.getvalue().count("\n")) > said:
                said = lines
                times.append(clock.now)
    done = [int(line.split()[1].split("/")[0]) for line in log.getvalue().splitlines()]
    assert all(count % 50 == 0 for count in done[:-1])
    assert (done[0], done[-1]) == (50, 10_001)
    gaps = np.diff(times)
    assert (gaps > SECONDS - 1e-6).all()
    assert (gaps < SECONDS + 50 / per_second + 1e-6).all()


def test_the_speed_is_that_since_the_line_before(clock):
    log = io.StringIO()
    bar = Bar(1000, "train", "step", done=300, every=10, file=log, clock=clock)
    assert bar.rate is None
    steps(bar, clock, 1.0, 10)
    steps(bar, clock, 4.0, 5)
    assert bar.rate == 1 / 4
    steps(bar, clock, 4.0, 5)
    assert bar.rate == 1 / 4  # the line's, until there is a step after it
    first, second = log.getvalue().splitlines()
    assert first.startswith("train: 310/1000 step, loss=309, 1.00step/s, 00:10 gone, 11:30 left")
    assert second.startswith("train: 320/1000 step, loss=319, 4.00s/step, 00:50 gone, 45:20 left")


def test_units_of_any_length_wait_for_their_first_line(clock):
    log = io.StringIO()
    with Bar(3, "plan", "network", file=log, clock=clock) as bar:
        steps(bar, clock, SECONDS / 10, 1)
        assert log.getvalue() == ""
        steps(bar, clock, SECONDS, 1)
        assert log.getvalue().startswith("plan: 2/3 network, loss=1")
    assert log.getvalue().count("\n") == 1  # where it ended is told already


def test_what_ends_with_an_error_leaves_the_last_word_to_it(clock):
    log = io.StringIO()
    with (
        contextlib.suppress(ValueError),
        Bar(3, "read", "tensor", file=log, clock=clock) as bar,
    ):
        bar.update()
        raise ValueError
    assert bar.done == 1
    assert log.getvalue() == ""


def test_silence(clock):
    log = io.StringIO()
    with Bar(3, "sample", "eval", silent=True, file=log, clock=clock) as bar:
        steps(bar, clock, 100, 3)
    assert (log.getvalue(), bar.done) == ("", 3)


def test_a_terminal_gets_a_bar():
    screen = Terminal()
    with Bar(3, "train", "step", done=1, every=1, file=screen) as bar:
        bar.update(text="loss=1")
        bar.note("loss=2")
        bar.update()
    assert screen.getvalue().count("\r") >= 3
    assert re.search(r"train: 100%\|[^|]+\| 3/3 \[.*loss=2\] *\n$", screen.getvalue())


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from ptdit_jax.progress import track
if {terminal}:
    sys.stderr.isatty = lambda: True
for _ in track(range(4), 4, "train", "step", every=2):
    pass
"""


def run(terminal, *before, **environment):
    script = SCRIPT.format(root=str(ROOT), terminal=terminal)
    command = (
        [sys.executable, *before, sys.executable, "-c", script] if before else [sys.executable, "-c", script]
    )
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    return done.stderr.decode()


def test_tqdm_disable_turns_the_bar_off_and_leaves_the_lines():
    """The variable is read when tqdm is imported."""
    assert "\r" in run(True)
    lines = run(True, TQDM_DISABLE="1")
    assert "\r" not in lines
    assert [line.split(",")[0] for line in lines.splitlines()] == ["train: 2/4 step", "train: 4/4 step"]
    assert run(False, TQDM_DISABLE="1").count("\n") == 2


def test_lines_of_launched_processes_have_their_prefix():
    launcher = [str(ROOT / "launch" / "processes.py"), "--processes=2", "--"]
    lines = run(False, *launcher).splitlines()
    found = [line.split(",")[0] for line in sorted(lines)]
    assert found == [f"[p{i}] train: {step}/4 step" for i in (0, 1) for step in (2, 4)]


def test_the_log_of_a_run_has_its_losses(tmp_path, capsys, monkeypatch):
    """400 steps, a line each `log_every` of them, and what is said between."""
    monkeypatch.setattr(ptdit_jax.progress, "SECONDS", 0.0)
    work = metrics.Work(images=4, tokens=64, flops=1e6, peak_flops=None)
    with metrics.Progress(tmp_path, step=0, steps=400, work=work, log_every=50, active=True) as log:
        for step in range(1, 401):
            log.write(step, {"loss": np.float32(step / 1000)})
        log.say("saved")
    out, err = capsys.readouterr()
    assert out == "saved\n"
    assert "\r" not in err
    form = r"train: (\d+)/400 step, loss=(0\.\d{4}), images/s=\d+, .*step/s, \d\d:\d\d gone, \d\d:\d\d left"
    found = [re.fullmatch(form, line) for line in err.splitlines()]
    assert [(int(m[1]), m[2]) for m in found if m] == [(n, f"{n / 1000:.4f}") for n in range(50, 401, 50)]
    assert len(found) == 8


def test_items_are_handed_on(clock):
    log = io.StringIO()
    assert list(track("abc", 3, "write", "tensor", file=log, clock=clock)) == ["a", "b", "c"]
    assert log.getvalue().startswith("write: 3/3 tensor")


def test_calls_are_counted(clock):
    log = io.StringIO()
    with Bar(2, "read", "tensor", file=log, clock=clock) as bar:
        assert list(map(bar.counting(str.upper), "ab")) == ["A", "B"]
    assert log.getvalue().startswith("read: 2/2 tensor")


def test_no_other_bars():
    """Every bar of the project is one of these."""
    files = [
        *ROOT.glob("ptdit_jax/**/*.py"),
        *ROOT.glob("benchmarks/*.py"),
        *ROOT.glob("data_pipelines/*.py"),
    ]
    assert len(files) > 50
    users = [
        file.name for file in files if re.search(r"^\s*(import|from) tqdm", file.read_text(), re.MULTILINE)
    ]
    assert users == ["progress.py"]
