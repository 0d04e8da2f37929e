"""A step that takes too long."""

import queue
import time

from ptdit_jax.processes.watchdog import HUNG, Watchdog


def sleeping_beauty():
    time.sleep(1.0)


def test_a_hung_step_leaves_the_stacks_of_its_threads(tmp_path, capsys):
    ended = queue.Queue()
    report = tmp_path / "hang.txt"
    with Watchdog(0.2, report, grace=0.1, leave=ended.put) as hang:
        hang.beat(7)
        sleeping_beauty()
    assert ended.get(timeout=5) == HUNG == 76
    assert "sleeping_beauty" in report.read_text()
    assert report.read_text().startswith("step 8,")
    assert "error: step 8 took longer than --step-timeout=0.2 s; the stacks" in capsys.readouterr().err


def test_steps_in_time_and_no_limit_end_nothing(tmp_path):
    ended = queue.Queue()
    with Watchdog(0.4, tmp_path / "a.txt", grace=0.0, leave=ended.put) as hang:
        for step in range(10):
            hang.beat(step)
            time.sleep(0.1)
    with Watchdog(0.1, tmp_path / "first.txt", first=60, grace=0.0, leave=ended.put):
        time.sleep(0.3)
    with Watchdog(0, tmp_path / "b.txt", grace=0.0, leave=ended.put):
        time.sleep(0.2)
    assert ended.empty()
    assert not list(tmp_path.iterdir())
