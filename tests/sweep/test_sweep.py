"""A sweep from end to end, undisturbed and killed three times: the same table."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest

from ptdit_jax.sweep import tables
from tests.training.runs import ROOT, rows, wait_until

POINTS = [("average", {}), ("random", {"model.extraction": "random"})]
KILLS = 3


@pytest.fixture(scope="module")
def file(sweep_file):
    return sweep_file(POINTS)


def start(file, workdir, environment):
    return subprocess.Popen(
        [sys.executable, "-m", "ptdit_jax.sweep", file, f"--workdir={workdir}"],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(file, workdir, environment):
    process = start(file, workdir, environment)
    try:
        output, _ = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def undisturbed(file, environment, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    return workdir, run(file, workdir, environment)


def test_a_sweep_ends_with_a_table_and_a_report(undisturbed):
    workdir, output = undisturbed
    assert "2 runs, " in output
    assert "[1/2] average started" in output
    table = pyarrow.parquet.read_table(workdir / "table.parquet").to_pylist()
    assert [(row["point"], row["state"], row["attempts"]) for row in table] == [
        ("average", "done", 1),
        ("random", "done", 1),
    ]
    for row in table:
        assert row["planned_mib"] > 1
        assert row["step_seconds"] > 0
        assert row["run_seconds"] > 1
        assert row["peak_rss_mib"] > 100
        assert row["frechet_distance"] > 0
        assert len(row["loss_curve"]) == 12
    assert (workdir / "report.html").stat().st_size > 10_000


@pytest.mark.full  # a long loop of kills
def test_a_sweep_killed_three_times_ends_with_the_same_table(undisturbed, file, environment, tmp_path):
    reference, _ = undisturbed
    workdir = tmp_path / "killed"
    workdir.mkdir()
    shutil.copy(reference / "plans.json", workdir)
    folders = [workdir / "points" / name for name, _ in POINTS]
    for moment in sorted(random.Random(0).sample(range(1, 24), KILLS)):
        process = start(file, workdir, environment)
        try:
            wait_until(process, lambda moment=moment: sum(map(rows, folders)) >= moment, 600)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        wait_for_the_end_of_its_runs(workdir)
    run(file, workdir, environment)

    table, expected = (
        pyarrow.parquet.read_table(folder / "table.parquet") for folder in (workdir, reference)
    )
    assert sum(table["attempts"].to_pylist()) > sum(expected["attempts"].to_pylist())
    assert table.drop_columns(tables.MEASURED).equals(expected.drop_columns(tables.MEASURED))
    for name, _ in POINTS:
        samples = (folder / "points" / name / "samples.png" for folder in (workdir, reference))
        assert len({path.read_bytes() for path in samples}) == 1


def wait_for_the_end_of_its_runs(workdir):
    """They die with the sweep, which is no longer there to wait for them."""

    def alive():
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if f"--workdir={workdir}" in command.read_text():
                    return True
            except OSError:
                continue
        return False

    end = time.monotonic() + 30
    while alive():
        assert time.monotonic() < end
        time.sleep(0.05)
