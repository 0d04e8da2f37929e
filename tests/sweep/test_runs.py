"""The order of runs, failures and stops, with a stand-in for training that takes no time; and what schedulers get."""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from ptdit_jax import cli
from ptdit_jax.sweep import __main__ as sweep
from ptdit_jax.sweep import plans, points, runs, schedulers
from tests.training.runs import ROOT

TRAIN = """
import os, pathlib, signal, sys, time
workdir = pathlib.Path(sys.argv[-1].removeprefix("--workdir="))
events = workdir.parents[1] / "events"
def say(event):
    with events.open("a") as file:
        file.write(f"{event} {workdir.name}\\n")
def stop(number, frame):
    say("stop")
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
say("start")
print("error: something else")
if workdir.name.startswith("bad"):
    print("error: the disk is full", file=sys.stderr, flush=True)
    sys.exit(1)
if workdir.name.startswith("killed"):
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(100 if workdir.name.startswith("slow") else 0.3)
if not workdir.name.startswith("empty"):
    rows = "".join(f"{step},0.5\\n" for step in range(1, 13))
    (workdir / "metrics.csv").write_text("step,loss\\n" + rows)
    for name in ("loss.png", "samples.png", "evaluation.json"):
        (workdir / name).write_text("{}")
say("end")
"""


@pytest.fixture
def stand_in(sweep_file, tmp_path, monkeypatch):
    """A function: a sweep of points of these names, whose runs are `TRAIN`."""

    def make(names, **options):
        given = [(name, {"compression.fixed": (1, size, size)}) for size, name in enumerate(names, 1)]
        made = points.load(sweep_file(given), workdir=tmp_path / "sweep", **options)
        (tmp_path / "ptdit_jax").mkdir(exist_ok=True)
        (tmp_path / "ptdit_jax" / "train.py").write_text(TRAIN)
        monkeypatch.chdir(tmp_path)  # where `python -m` looks first
        return made

    return make


def run(made, jobs=1):
    lines = []
    failed, code = runs.run(
        made, jobs=jobs, environment=os.environ, say=lambda line, rest: lines.append(line)
    )
    return failed, code, lines


def events(made):
    file = made.workdir / "events"
    return file.read_text().splitlines() if file.exists() else []


def test_runs_come_one_after_the_other_and_once(stand_in):
    made = stand_in(["a", "b"])
    assert run(made)[:2] == ({}, 0)
    assert events(made) == ["start a", "end a", "start b", "end b"]
    (attempt,) = runs.read_attempts(made.folder("a"))
    assert attempt["seconds"] > 0.3
    assert attempt["peak_rss_bytes"] > 2**20
    assert attempt["error"] == ""
    assert run(made) == ({}, 0, [])
    assert len(events(made)) == 4


def test_as_many_run_at_a_time_as_are_asked_for(stand_in):
    made = stand_in(["a", "b", "c"])
    assert run(made, jobs=2)[:2] == ({}, 0)
    first, second, third, *rest = events(made)
    assert {first, second} == {"start a", "start b"}
    assert third.startswith("end")
    assert "start c" in rest


def test_a_point_that_fails_does_not_stop_the_rest_and_is_tried_again(stand_in):
    made = stand_in(["bad", "killed", "empty", "good"])
    failed, code, _ = run(made)
    assert code == 0
    assert failed == {
        "bad": "failed: the disk is full (exit code 1)",
        "killed": "failed: something else (exit code -9)",
        "empty": "failed: something else (exit code 0)",
    }
    states = {point.name: runs.progress(made, point) for point in made.points}
    assert [one.state for one in states.values()] == ["failed", "failed", "failed", "done"]
    assert states["bad"].error == failed["bad"]
    assert set(run(made)[0]) == set(failed)
    assert events(made).count("start bad") == 2
    assert events(made).count("start good") == 1


def test_what_starts_from_a_failed_point_fails_with_it(stand_in):
    made = stand_in(["bad", "next", "last"], warm_start=0)
    assert [point.after for point in made.points] == [None, "bad", "next"]
    failed, _, _ = run(made, jobs=3)
    assert failed["next"] == "it starts from bad, which failed"
    assert failed["last"] == "it starts from next, which failed"
    assert events(made) == ["start bad"]


def test_a_warm_start_waits_for_its_source(stand_in):
    made = stand_in(["a", "b"], warm_start=0)
    assert run(made, jobs=2)[:2] == ({}, 0)
    assert events(made) == ["start a", "end a", "start b", "end b"]


def test_a_stop_is_passed_on_and_no_failure(stand_in):
    made = stand_in(["a", "slow", "c"])

    def stop():
        while "start slow" not in events(made):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    failed, code, _ = run(made)
    thread.join()
    assert (failed, code) == ({}, 143)
    assert events(made) == ["start a", "end a", "start slow", "stop slow"]
    assert [runs.progress(made, point).state for point in made.points] == ["done", "started", "waiting"]


def test_what_is_tried_again_counts_as_left(stand_in):
    made = stand_in(["bad", "good"])
    for names in (["bad", "good"], ["good"], ["good"], []), (["bad"], []):  # when one starts and when it ends
        heard = []
        runs.run(made, jobs=1, environment=os.environ, say=lambda _, rest, heard=heard: heard.append(rest))
        assert [[point.name for point in rest] for rest in heard] == list(names)


def test_status_is_a_table(stand_in, sweep_file, capsys):
    made = stand_in(["bad", "good"])
    run(made)
    assert sweep.show_status(made, {}) == 0
    shown = capsys.readouterr().out
    bad, good = ([cell.strip() for cell in line.split("|")] for line in shown.splitlines()[2:4])
    assert bad[1:4] == ["bad", "failed", "0 of 12"]
    assert good[1:5] == ["good", "done", "12 of 12", "0.5000"]
    assert shown.endswith("1 failed, 1 done\n")


def test_status_says_how_long_the_rest_takes(stand_in, capsys):
    made = stand_in(["a", "half", "waits"])
    planned = {point.name: plans.Plan(1, 2, step_seconds=60.0) for point in made.points}
    whole = planned["waits"].seconds(made.points[2].config)
    assert whole > 12 * 60  # the samples and the start come on top
    made.folder("half").mkdir(parents=True)
    (made.folder("half") / "metrics.csv").write_text("step,loss\n3,0.5\n")
    sweep.show_status(made, planned)
    assert f"2 waiting, 1 started; {2.75 * whole / 60:.0f} min left" in capsys.readouterr().out
    assert sweep.left(made, planned, made.points, jobs=2) == f"; {2.75 * whole / 2 / 60:.0f} min left"
    assert sweep.left(made, planned, made.points, jobs=9) == f"; {whole / 60:.0f} min left"
    assert sweep.left(made, {"a": planned["a"]}, made.points, jobs=2) == ""
    os.utime(made.folder("half") / "metrics.csv", (0, 0))  # stopped long ago
    sweep.show_status(made, planned)
    assert "left" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs=0"], "--jobs=0 must be at least 1"),
        (["--warm-start", "--backend=slurm"], "--warm-start needs --backend=local"),
        (["--config.model.width=40"], "point a: model.width=40 must be a multiple of 16"),
        (["--memory=0.001"], "point a: the training step needs up to"),
    ],
)
def test_what_cannot_run_is_refused_before_the_first_run(sweep_file, tmp_path, arguments, message):
    file = sweep_file([("a", {})])
    options, extra = sweep.parse([file, f"--workdir={tmp_path}", *arguments])
    with pytest.raises(ValueError, match=message):
        sweep.main(options, extra)
    assert not (tmp_path / "points").exists()


def test_flags_that_do_not_exist_are_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        sweep.parse(["a.py", "--job=2"])
    assert caught.value.code == 2
    assert "'--job=2' is no option" in capsys.readouterr().err


def test_time_grows_with_steps_and_samples(sweep_file):
    fast, long, many = points.load(
        sweep_file([("a", {}), ("b", {"train.steps": 1000}), ("c", {"evaluation.count": 400})])
    ).points
    plan = plans.Plan(memory=1.0, limit=2.0, step_seconds=0.5)
    seconds = [plan.seconds(point.config) for point in (fast, long, many)]
    assert seconds[1] - seconds[0] == pytest.approx(0.5 * (1000 - 12))
    evaluations, guided, batch = 2, 2, 16
    assert seconds[2] - seconds[0] == pytest.approx(0.5 * evaluations * guided * (400 - 40) / (3 * batch))


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    """`sbatch` and `kubectl` that write down what they are called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "kubectl"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $@" >>{tmp_path}/calls\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "calls"


def test_an_array_has_a_task_for_each_point_that_is_not_done(sweep_file, tmp_path, scheduler):
    made = points.load(
        sweep_file([("a", {}), ("b", {"compression.fixed": (1, 4, 4)}), ("c", {"seed": 1})]),
        workdir=tmp_path / "sweep",
    )
    done = made.folder("a")
    done.mkdir(parents=True)
    (done / "metrics.csv").write_text("step,loss\n12,0.5\n")
    for name in ("loss.png", "samples.png", "evaluation.json"):
        (done / name).touch()
    assert schedulers.submit(made, "slurm", 4) == 0
    script = tmp_path / "sweep" / "array.sbatch"
    assert scheduler.read_text() == f"sbatch --array=0-1%4 {script}\n"
    text = script.read_text()
    header = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --requeue" in header
    assert f"#SBATCH --output={tmp_path}/sweep/slurm-%A_%a.log" in header
    assert sum("--output" in line for line in header) == 1

    (tmp_path / "srun").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "srun").chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(ROOT)}
    for task, point in enumerate(made.points[1:]):
        ran = subprocess.run(
            ["bash", script],
            env=environment | {"SLURM_ARRAY_TASK_ID": str(task)},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        given = ran.stdout.splitlines()
        assert given[2:] == [
            "launch/run.sh", "--accelerator", "cuda", "--cluster", "auto", *point.arguments,
            f"--workdir={made.folder(point.name)}",
        ]  # fmt: skip
    ran = subprocess.run(
        ["bash", script], env=environment | {"SLURM_ARRAY_TASK_ID": "2"}, capture_output=True
    )
    assert ran.returncode == 2


def test_every_point_is_a_job_set(sweep_file, tmp_path, scheduler):
    made = points.load(sweep_file([("a", {}), ("b-x", {"seed": 1})]), workdir=tmp_path / "sweep")
    assert schedulers.submit(made, "jobset", 0) == 0
    file = tmp_path / "sweep" / "jobsets.yaml"
    assert scheduler.read_text() == f"kubectl apply -f {file}\n"
    template = yaml.safe_load((ROOT / "launch" / "jobset.yaml").read_text())

    def command(job_set):
        (job,) = job_set["spec"]["replicatedJobs"]
        (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
        return container.pop("command")

    before = command(template)
    template["metadata"].pop("name")
    for point, job_set in zip(made.points, yaml.safe_load_all(file.read_text()), strict=True):
        words = command(job_set)
        assert words[:3] == before[:3]
        assert words[3:-1] == list(point.arguments)
        assert words[-1] == f"--workdir=/runs/tiny_sweep/points/{point.name}"
        assert job_set["metadata"].pop("name") == f"tiny-sweep-{point.name}"
        assert job_set == template


def test_a_scheduler_that_is_missing_is_one_line(sweep_file, tmp_path, monkeypatch):
    made = points.load(sweep_file([("a", {})]), workdir=tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(cli.RunError, match=r"array\.sbatch is written, but could not be submitted"):
        schedulers.submit(made, "slurm", 0)


def test_runs_die_with_the_sweep(tmp_path):
    code = """
import os, subprocess, sys, time
from ptdit_jax.sweep.runs import WRAPPER
child = "import os, time; print(os.getpid(), flush=True); time.sleep(100)"
subprocess.Popen([sys.executable, "-c", WRAPPER, str(os.getpid()), sys.executable, "-c", child], start_new_session=True)
time.sleep(100)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = Path(f"/proc/{int(parent.stdout.readline())}")
    parent.kill()
    parent.wait()
    end = time.monotonic() + 30
    while child.exists() and (child / "stat").read_text().rsplit(") ", 1)[1][0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.05)
    parent.stdout.close()


def test_the_log_of_an_array_may_lie_in_a_folder_of_any_name(stand_in, tmp_path):
    made = dataclasses.replace(stand_in(["a"]), workdir=tmp_path / "Läufe 100%")
    (line,) = (line for line in schedulers.array(made, made.points).splitlines() if "--output" in line)
    words = shlex.split(line.removeprefix("#SBATCH "))  # sbatch takes quotes as a shell does, and %% for a %
    assert words == [f"--output={tmp_path}/Läufe 100%%/slurm-%A_%a.log"]
