"""The runs of a sweep on this machine: started, watched, started again where they stopped; and how far they are.

A point's folder, `points/NAME`, is that of an ordinary run and two files more: `log.txt`, what it printed, and
`attempts.json`, a row for each time that it was started.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptdit_jax import files
from ptdit_jax.experiment import results
from ptdit_jax.processes import signals
from ptdit_jax.sweep.points import Point, Sweep

POLL = 0.2  # seconds between looks at the runs

# A wrapper that becomes the run, and asks the kernel before (PR_SET_PDEATHSIG is 1) to kill it when the sweep dies,
# however it does: a run that outlives its sweep would be in the way of the next one.
WRAPPER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.getppid() == int(sys.argv[1]) or os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a point is.

    Attributes:
      state: "waiting", "started" (it runs, or was stopped), "failed" or "done".
      step: steps in its metrics.
      loss: of the last one; None before the first.
      written: when its metrics or its log were written last, in seconds since 1970; None when never.
      error: why it failed, or "".
    """

    state: str
    step: int
    loss: float | None
    written: float | None
    error: str


def progress(sweep: Sweep, point: Point) -> Progress:
    """How far a point is, by what lies in its folder."""
    folder = sweep.folder(point.name)
    files = [file for file in (folder / "metrics.csv", folder / "log.txt") if file.exists()]
    written = max((file.stat().st_mtime for file in files), default=None)
    step, loss = last_row(folder / "metrics.csv")
    state, error = "waiting" if written is None else "started", ""
    if step >= point.config.train.steps and results.is_complete(point.config, folder):
        state = "done"
    elif (attempts := read_attempts(folder)) and attempts[-1]["error"]:
        state, error = "failed", attempts[-1]["error"]
    return Progress(state, step, loss, written, error)


def read_attempts(folder: Path) -> list[dict[str, Any]]:
    """The rows of `attempts.json`: seconds and peak_rss_bytes, None where the sweep was killed, and error, or ""."""
    file = folder / "attempts.json"
    return json.loads(file.read_text()) if file.exists() else []


def run(
    sweep: Sweep, *, jobs: int, environment: Mapping[str, str], say: Callable[[str, Sequence[Point]], None]
) -> tuple[dict[str, str], int]:
    """Run what is not done, `jobs` at a time, in order; a point that fails is left out, and those that wait for it.

    SIGTERM and Ctrl-C are passed on to the runs, which save a checkpoint and end.

    Args:
      sweep: valid points.
      jobs: runs at a time.
      environment: variables of the runs.
      say: takes a line for each run that starts or ends, and the points that run or wait then.

    Returns:
      Why each failed point failed, by name; and the exit code of a sweep that was stopped, 0 for one that was not.
    """
    states = {point.name: progress(sweep, point).state for point in sweep.points}
    waiting = [point for point in sweep.points if states[point.name] != "done"]
    failed: dict[str, str] = {}
    running: list[_Run] = []
    count = len(sweep.points)

    def tell(line: str) -> None:
        say(line, [*(one.point for one in running), *waiting])

    with signals.StopRequest() as stop:
        try:
            while running or (waiting and not stop.signal):
                for point in list(waiting):
                    ready = point.after is None or states[point.after] == "done"
                    if point.after in failed:
                        failed[point.name] = f"it starts from {point.after}, which failed"
                        waiting.remove(point)
                    elif ready and len(running) < jobs and not stop.signal:
                        waiting.remove(point)
                        running.append(_Run(sweep, point, environment))
                        tell(f"[{count - len(waiting)}/{count}] {point.name} started")
                if stop.signal:
                    for one in running:
                        one.stop()
                for one in list(running):
                    if one.is_over():
                        running.remove(one)
                        states[one.point.name] = progress(sweep, one.point).state
                        if one.error:
                            failed[one.point.name] = one.error
                        outcome = one.error or states[one.point.name] if not one.stopped else "stopped"
                        tell(f"{one.point.name} {outcome} after {one.seconds:.0f} s")
                time.sleep(POLL)
        finally:
            for one in running:  # only an error of our own comes here with runs alive
                one.process.kill()
    return failed, signals.exit_code(stop.signal) if stop.signal else 0


class _Run:
    """A process that trains a point."""

    def __init__(self, sweep: Sweep, point: Point, environment: Mapping[str, str]):
        self.point, self.folder = point, sweep.folder(point.name)
        self.error, self.seconds, self.stopped = "", 0.0, False
        self.folder.mkdir(parents=True, exist_ok=True)
        self.attempts = [*read_attempts(self.folder), {"seconds": None, "peak_rss_bytes": None, "error": ""}]
        self._record()
        train = [sys.executable, "-m", "ptdit_jax.train", *point.arguments, f"--workdir={self.folder}"]
        with (self.folder / "log.txt").open("ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-c", WRAPPER, str(os.getpid()), *train],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C of the terminal reaches the sweep alone, which passes it on once
            )
        self.began = time.monotonic()

    def stop(self) -> None:
        """Ask it to save a checkpoint and end."""
        if not self.stopped:
            self.stopped = True
            self.process.terminate()

    def is_over(self) -> bool:
        """Whether it has ended; then `error` and `seconds` are known, and written down."""
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if not pid:
            return False
        code = self.process.returncode = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - self.began
        is_done = results.is_complete(self.point.config, self.folder)
        if not self.stopped and (code or not is_done):
            self.error = self._reason(code)
        peak = usage.ru_maxrss * 1024  # Linux counts KiB
        self.attempts[-1] = {"seconds": self.seconds, "peak_rss_bytes": peak, "error": self.error}
        self._record()
        return True

    def _record(self) -> None:
        text = json.dumps(self.attempts, indent=1)
        files.write(self.folder / "attempts.json", lambda draft: draft.write_text(text))

    def _reason(self, code: int) -> str:
        """The last error that it printed, else its last line; and the exit code."""
        with (self.folder / "log.txt").open("rb") as log:
            log.seek(self.log_start)
            lines = [line.strip() for line in re.split(r"[\r\n]+", log.read().decode(errors="replace"))]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return f"failed: {(errors or list(filter(None, lines)) or ['no output'])[-1]} (exit code {code})"


def last_row(file: Path) -> tuple[int, float | None]:
    """Step and loss of the last whole row of a run's metrics; (0, None) without one."""
    if not file.exists():
        return 0, None
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 4096))
        rows = stream.read().split(b"\n")[:-1]
    cells = rows[-1].split(b",") if rows else []
    return (int(cells[0]), float(cells[1])) if cells and cells[0].isdigit() else (0, None)
