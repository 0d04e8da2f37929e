"""The order of stages, stops, changes, and what is shown, with a stand-in for training that takes no time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ptdit_jax import cli
from ptdit_jax.processes import distributed
from ptdit_jax.stages import __main__ as command
from ptdit_jax.stages import recipe, state, tables
from tests.training.runs import ROOT, wait_until

STAGES = [("a", "", {}), ("b", "a", {"seed": 1}), ("c", "b", {"seed": 2}), ("d", "a", {"seed": 3})]

TRAIN = """
import os, pathlib, signal, sys, time
options = dict(a.removeprefix("--").split("=", 1) for a in sys.argv[1:])
workdir = pathlib.Path(options["workdir"])
events = workdir.parent / "events"
def say(event):
    with events.open("a") as file:
        file.write(f"{event} {workdir.name}\\n")
def stop(number, frame):
    say("stop")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
say(f"start from {pathlib.Path(options.get('config.train.init_from', '-')).name}:")
if (workdir.parent / f"fail {workdir.name}").exists():
    sys.exit(76)
if (workdir.parent / f"die {workdir.name}").exists():
    os.kill(os.getpid(), signal.SIGKILL)
if (workdir.parent / f"slow {workdir.name}").exists():
    time.sleep(100)
step = workdir / "checkpoints" / options["config.train.steps"]
step.mkdir(parents=True)
(step / "checksums.json").write_text(f"{workdir.name} {os.getpid()}")
(workdir / "metrics.csv").write_text("step,loss\\n" + "".join(f"{n},0.5\\n" for n in range(1, 13)))
for name in ("loss.png", "samples.png"):
    (workdir / name).touch()
say("end")
"""


STAGES_FROM_HERE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})  # not in the environment, where the run would find it too
from ptdit_jax.stages.__main__ import start
sys.exit(start(sys.argv))
"""


@pytest.fixture
def stand_in(recipe_file, tmp_path, monkeypatch):
    """A function: runs the command with other words and gives its exit code."""
    (tmp_path / "ptdit_jax").mkdir()
    (tmp_path / "ptdit_jax" / "train.py").write_text(TRAIN)
    monkeypatch.chdir(tmp_path)  # where `python -m` looks first
    file = recipe_file(STAGES)

    def run(*words):
        return command.main(*command.parse(["stages", file, f"--workdir={tmp_path}/runs", *words]))

    (tmp_path / "runs").mkdir()
    run.file = file
    return run


def events(tmp_path):
    file = tmp_path / "runs" / "events"
    return file.read_text().splitlines() if file.exists() else []


ALL = [f"{what} {name}" for name, start in zip("abcd", "-aba") for what in (f"start from {start}:", "end")]


def test_stages_come_one_after_the_other_and_once(stand_in, tmp_path, capfd):
    assert stand_in() == 0
    assert events(tmp_path) == ALL
    assert [line for line in capfd.readouterr().out.splitlines() if line.startswith("[")] == [
        "[1/4] a starts",
        "[2/4] b starts from a",
        "[3/4] c starts from b",
        "[4/4] d starts from a",
    ]
    record = json.loads((tmp_path / "runs" / "c" / "stage.json").read_text())
    step = tmp_path / "runs" / "b" / "checkpoints" / "12"
    assert record == {
        "recipe": "tiny",
        "init_from": "b",
        "checkpoint": 12,
        "fingerprint": state.fingerprint(step),
    }
    assert stand_in() == 0
    assert events(tmp_path) == ALL


def test_a_stage_that_fails_ends_the_chain_with_its_code_and_is_tried_again(stand_in, tmp_path):
    fail, die = (tmp_path / "runs" / f"{how} b" for how in ("fail", "die"))
    fail.touch()
    assert stand_in() == 76
    assert events(tmp_path) == [*ALL[:2], "start from a: b"]
    fail.rename(die)
    assert stand_in() == 128 + signal.SIGKILL
    die.unlink()
    assert stand_in() == 0
    assert [line for line in events(tmp_path) if line.startswith("end")] == ALL[1::2]


def test_a_part_of_the_stages(stand_in, tmp_path):
    with pytest.raises(
        ValueError, match=r"^stage b: it starts from a, which is not done in .*; --from a runs both$"
    ):
        stand_in("--only=b")
    with pytest.raises(ValueError, match=r"^--from=x: there is no such stage; those are a, b, c, d$"):
        stand_in("--from=x")
    assert stand_in("--only=a") == 0
    assert events(tmp_path) == ALL[:2]
    assert stand_in("--from=b") == 0
    assert events(tmp_path) == ALL[:6]
    assert stand_in("--only", "d") == 0
    assert events(tmp_path) == ALL


def test_a_stop_is_passed_on_and_no_stage_follows(stand_in, tmp_path):
    (tmp_path / "runs" / "slow b").touch()
    timer = threading.Thread(target=lambda: (_wait(tmp_path, 3), os.kill(os.getpid(), signal.SIGTERM)))
    timer.start()
    assert stand_in() == 143
    timer.join()
    assert events(tmp_path) == [*ALL[:2], "start from a: b", "stop b"]


def _wait(tmp_path, count):
    while len(events(tmp_path)) < count:
        time.sleep(0.01)


def test_a_stop_between_two_stages_starts_none(stand_in, tmp_path, monkeypatch):
    """It comes when the first has ended, while the second is being checked."""
    before = command.running.state.write_record

    def write_record(made, run):
        if run.name == "b":
            os.kill(os.getpid(), signal.SIGTERM)
            raise OSError("so late that nothing is told")
        before(made, run)

    monkeypatch.setattr(command.running.state, "write_record", write_record)
    with pytest.raises(OSError, match="so late"):
        stand_in()
    stages = command.running.Stages(lambda: pytest.fail("nothing is read"))
    assert stages(signal.SIGTERM) == {"code": 143}
    assert stages(signal.SIGINT) == {"code": 130}
    assert events(tmp_path) == ALL[:2]


def change(checkpoint):
    (checkpoint / "checksums.json").write_text("trained again")


def test_a_stage_whose_predecessor_is_another_now_is_refused(stand_in, tmp_path):
    runs = tmp_path / "runs"
    assert stand_in() == 0
    change(runs / "a" / "checkpoints" / "12")
    with pytest.raises(ValueError) as raised:
        stand_in()
    first, second = str(raised.value).splitlines()
    assert first == (
        "stage b: it was started from checkpoint 12 of a, which has another checkpoint 12 now; undo that, or move "
        f"{runs}/b, {runs}/c away to train them again"
    )
    assert second.startswith("stage d: it was started from checkpoint 12 of a")
    assert stand_in("--only=c") == 0  # b is what it was
    for name in "bcd":
        shutil.rmtree(runs / name)
    assert stand_in() == 0
    assert events(tmp_path) == ALL + ALL[2:]


def test_a_predecessor_that_is_gone_is_trained_again_only_if_nothing_hangs_on_it(stand_in, tmp_path):
    runs = tmp_path / "runs"
    (runs / "slow c").touch()
    (runs / "fail c").touch()
    assert stand_in() == 76
    (runs / "fail c").unlink()
    (runs / "slow c").unlink()
    shutil.rmtree(runs / "a")
    with pytest.raises(
        ValueError, match=r"^stage b: .* of a, which is not in .*/a any more \(--from b does not"
    ):
        stand_in()
    assert stand_in("--from=b") == 0
    assert events(tmp_path)[-1] == "end c"


def test_more_steps_of_a_stage_that_others_started_from_are_refused(stand_in, tmp_path):
    assert stand_in("--only=a") == 0
    assert stand_in("--only=b") == 0
    with pytest.raises(
        ValueError, match=r"^stage b: .* of a, which would be trained on to 20; undo that, or"
    ):
        stand_in("--a.train.steps=20")
    assert events(tmp_path) == ALL[:4]


def test_a_folder_of_another_run_is_not_taken_for_a_stage(stand_in, tmp_path):
    assert stand_in("--only=a") == 0
    shutil.copytree(tmp_path / "runs" / "a", tmp_path / "runs" / "b")
    with pytest.raises(
        ValueError, match=r"^stage b: .*/b has a run that was not started from a, as the recipe says"
    ):
        stand_in()
    assert events(tmp_path) == ALL[:2]


def test_a_stage_that_was_begun_with_another_config_is_refused(stand_in, tmp_path):
    assert stand_in("--only=a") == 0
    made = recipe.load(stand_in.file, workdir=tmp_path / "runs")
    config = made.runs["a"].config
    (made.runs["a"].folder / "config.json").write_text(json.dumps(config.to_dict()))
    with pytest.raises(ValueError, match=r"^stage a: .*/a has a run with another config; .*: seed=5, was 0$"):
        stand_in("--config.seed=5")


def test_a_recipe_that_was_moved_goes_on(stand_in, tmp_path):
    assert stand_in("--only=a") == 0
    assert stand_in("--only=b") == 0
    for name in "ab":
        made = recipe.load(stand_in.file, workdir=tmp_path / "runs").runs[name]
        (made.folder / "config.json").write_text(json.dumps(made.config.to_dict()))
    (tmp_path / "runs").rename(tmp_path / "moved")
    (tmp_path / "moved" / "b" / "samples.png").unlink()  # so that b is not done
    moved = recipe.load(stand_in.file, workdir=tmp_path / "moved")
    assert state.problems(moved, moved.runs["b"], {"a", "b"}) == []
    assert state.resumed(moved.runs["b"]).arguments[-1] == f"--config.train.init_from={tmp_path}/runs/a"


def test_status_only_reads(stand_in, tmp_path, capsys):
    assert stand_in("--only=a") == 0
    made = recipe.load(stand_in.file, workdir=tmp_path / "runs")
    state.write_record(made, made.runs["b"])
    (tmp_path / "runs" / "b" / "metrics.csv").write_text(
        "step,loss\n1,0.5\n2,0.25\n3,0.1"
    )  # a row is half written
    files = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert stand_in("--status") == 0
    text = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert cells[2][:6] == ["a", "", "done", "12 of 12", "0.5000", ""]
    assert cells[3][:6] == ["b", "a", "running", "2 of 12", "0.2500", ""]
    assert cells[4][:6] == ["c", "b", "waiting", "0 of 12", "", ""]
    assert cells[2][6] == str(tmp_path / "runs" / "a")
    assert text.splitlines()[-1] == "1 done, 1 running, 2 waiting"
    late = time.time() + state.RECENT + 1
    assert state.progress(made.runs["b"], now=late).state == "stopped"
    assert sorted(tmp_path.rglob("*")) == files


def test_what_is_left_goes_by_the_speed_of_the_run(stand_in, tmp_path, monkeypatch):
    run = recipe.load(stand_in.file, workdir=tmp_path / "runs").runs["a"]
    run.folder.mkdir()
    (run.folder / "metrics.csv").write_text("step,loss\n1,0.5\n2,0.25\n")
    monkeypatch.setattr(state, "scalars", lambda folder, tag: iter([9.0] * 5 + [30.0] * 20))
    found = state.progress(run)
    assert found.left == 10 * 30.0
    assert "5 min" in tables.status(recipe.load(stand_in.file, workdir=tmp_path / "runs"))
    late = time.time() + 500
    assert state.progress(run, now=late).state == "running"  # steps take long
    assert state.progress(run, now=late + 200).state == "stopped"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--topology=cpu:2"], "--topology goes with --dry-run"),
        (["--only=a", "--from=b"], "not allowed with argument --only"),
        (["--status", "--coordinator=h:1", "--processes=2", "--process-id=0"], "are of one process"),
    ],
)
def test_options_that_do_not_go_together(stand_in, capsys, words, message):
    with pytest.raises(SystemExit) as raised:
        stand_in(*words)
    assert raised.value.code == cli.USER_ERROR
    assert message in capsys.readouterr().err


def test_a_killed_command_takes_its_run_along(stand_in, tmp_path):
    (tmp_path / "runs" / "slow a").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", STAGES_FROM_HERE, stand_in.file, f"--workdir={tmp_path}/runs"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(process, lambda: len(events(tmp_path)) == 1)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.communicate(timeout=60)
    end = time.monotonic() + 20
    while Path(f"/proc/{child}/exe").is_symlink():  # a zombie has none
        assert time.monotonic() < end, "the run goes on"
        time.sleep(0.01)


def test_runs_get_the_place_of_the_process():
    launch = distributed.Launch("h:1", 4, 2, step_timeout=3.0)
    assert distributed.parse(["x", *distributed.flags(launch)])[0] == launch
    assert distributed.flags(distributed.ALONE) == []
