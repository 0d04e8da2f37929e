"""`metrics.csv` after crashes, and what is on TensorBoard."""

import errno
import os
import time

import numpy as np
import pytest
from grain.experimental import TFRecordIterDataset
from tensorboardX.proto.event_pb2 import Event

from ptdit_jax.training.metrics import CsvLog, Progress, Work


def values(step):
    return {"loss": np.float32(1 / step), "grad_norm": np.float32(0.1 * step)}


def write(path, first, last):
    log = CsvLog(path, step=first - 1)
    for step in range(first, last + 1):
        log.write(step, values(step))
    log.close()


def test_values_read_back_as_they_were(tmp_path):
    write(tmp_path / "m.csv", 1, 30)
    table = np.genfromtxt(tmp_path / "m.csv", delimiter=",", names=True, dtype=np.float64)
    np.testing.assert_array_equal(table["step"], np.arange(1, 31))
    for step in range(1, 31):
        assert np.float32(table["loss"][step - 1]) == np.float32(1 / step)


def test_what_is_not_finite_is_written_as_such(tmp_path):
    log = CsvLog(tmp_path / "m.csv", step=0)
    log.write(1, {"loss": np.float32(np.nan), "grad_norm": np.float32(np.inf)})
    assert (tmp_path / "m.csv").read_text() == "step,loss,grad_norm\n1,nan,inf\n"


def test_a_row_is_in_the_file_at_once(tmp_path):
    log = CsvLog(tmp_path / "m.csv", step=0)
    log.write(1, values(1))
    assert (tmp_path / "m.csv").read_text().endswith("\n")
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize("step", [1, 7, 12])
def test_a_resume_cuts_what_is_beyond_its_step_and_writes_the_same_bytes(tmp_path, step):
    write(tmp_path / "whole.csv", 1, 20)
    write(tmp_path / "cut.csv", 1, 12)
    write(tmp_path / "cut.csv", step + 1, 20)
    assert (tmp_path / "cut.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_half_a_row_is_cut_wherever_the_crash_was(tmp_path):
    write(tmp_path / "whole.csv", 1, 12)
    whole = (tmp_path / "whole.csv").read_bytes()
    start = whole.index(b"\n10,") + 1
    for end in range(start, len(whole)):
        (tmp_path / "crash.csv").write_bytes(whole[:end])
        write(tmp_path / "crash.csv", 10, 12)
        assert (tmp_path / "crash.csv").read_bytes() == whole


def test_a_new_run_empties_the_file(tmp_path):
    write(tmp_path / "m.csv", 1, 5)
    write(tmp_path / "m.csv", 1, 2)
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 3


def test_missing_rows_are_an_error(tmp_path):
    write(tmp_path / "m.csv", 1, 5)
    with pytest.raises(ValueError, match=r"ends at step 5, but the checkpoint to resume is of step 9"):
        CsvLog(tmp_path / "m.csv", step=9)
    with pytest.raises(ValueError, match=r"ends at step 0"):
        CsvLog(tmp_path / "none.csv", step=9)


def test_other_columns_are_an_error(tmp_path):
    write(tmp_path / "m.csv", 1, 5)
    with pytest.raises(ValueError, match="columns"):
        CsvLog(tmp_path / "m.csv", step=5).write(6, {"loss": np.float32(1)})


def progress(folder, **fields):
    work = Work(images=4, tokens=64, flops=1e6, peak_flops=None)
    settings = {"step": 0, "steps": 10, "work": work, "log_every": 5, "active": True}
    return Progress(folder, **(settings | fields))


def test_a_full_disk_names_the_folder(tmp_path, monkeypatch):
    with progress(tmp_path) as log:

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(log.csv, "write", full)
        with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"):
            log.write(1, values(1))


def test_the_loss_comes_first(tmp_path):
    with progress(tmp_path) as log:
        log.write(1, {"accuracy": np.float32(1), "loss": np.float32(2)})
    assert (tmp_path / "metrics.csv").read_text() == "step,loss,accuracy\n1,2.0,1.0\n"


def test_only_one_process_writes(tmp_path):
    with progress(tmp_path / "none", active=False) as log:
        log.write(1, values(1))
        log.say("nothing")
        log.sync()
    assert not (tmp_path / "none").exists()


def events(folder):
    """Every event of every file, in the order of the files."""
    for path in sorted(folder.glob("events*"), key=os.path.getmtime):
        yield from map(Event.FromString, TFRecordIterDataset(str(path)))


def test_tensorboard_has_a_point_every_few_steps_and_hides_those_a_resume_does_again(tmp_path):
    with progress(tmp_path) as log:
        for step in range(1, 11):
            log.write(step, values(step))
    found = {(e.step, v.tag) for e in events(tmp_path / "tensorboard") for v in e.summary.value}
    assert {step for step, _ in found} == {5, 10}
    speeds = ("step_seconds", "images_per_second", "tokens_per_second", "model_flops_per_second")
    shares = ("data_share", "checkpoint_share")
    assert {tag for _, tag in found} == {
        "train/loss",
        "train/grad_norm",
        *(f"speed/{name}" for name in (*speeds, *shares)),
    }
    with progress(tmp_path, step=7):
        pass
    starts = [e.step for e in events(tmp_path / "tensorboard") if e.HasField("session_log")]
    assert starts == [8]


def test_speeds_follow_from_the_work_of_a_step_and_its_time():
    work = Work(images=4, tokens=64, flops=3e6, peak_flops=1e7)
    assert work.speeds(10, 20.0) == {
        "step_seconds": 2.0,
        "images_per_second": 2.0,
        "tokens_per_second": 32.0,
        "model_flops_per_second": 1.5e6,
        "utilisation": 0.15,
    }
    assert "utilisation" not in Work(4, 64, 3e6, None).speeds(10, 20.0)


def test_waits_are_a_share_of_the_time_since_the_last_point(tmp_path):
    with progress(tmp_path) as log:
        with log.waiting("data"):
            time.sleep(0.05)
        for step in range(1, 11):
            log.write(step, values(step))
    found = {
        (e.step, v.tag): v.simple_value for e in events(tmp_path / "tensorboard") for v in e.summary.value
    }
    assert 0 < found[5, "speed/data_share"] <= 1
    assert found[10, "speed/data_share"] == found[5, "speed/checkpoint_share"] == 0
