"""A step that never ends: noticed, its stacks written, the process ended."""

import contextlib
import faulthandler
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

HUNG = 76  # exit code: a step took longer than it may


class Watchdog:
    """While active, ends the process when `beat` is not called for too long.

    A thread of its own does, so it works while the main thread waits for a device or for another process.
    """

    def __init__(
        self,
        timeout: float,
        report: Path,
        *,
        step: int = 0,
        first: float = 0.0,
        grace: float = 10.0,
        leave: Callable[[int], object] = os._exit,
    ):
        """Prepare.

        Args:
          timeout: seconds between two beats; 0 = never ends the process.
          report: the file that gets the stacks of all threads.
          step: steps done before.
          first: seconds more for the first beat: processes come to the first step at different times.
          grace: seconds between the report and the end.  A process that ends takes the others with it, and
            they are to notice the same step, and write their stacks, first.
          leave: ends the process with an exit code.
        """
        self.timeout, self.report, self.grace, self._leave = timeout, report, grace, leave
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.step, self._first = step, first

    def __enter__(self) -> "Watchdog":
        if self.timeout:
            self._last = time.monotonic() + self._first
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()

    def beat(self, step: int) -> None:
        """Say that step number `step` has ended."""
        self.step, self._last = step, time.monotonic()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """For what is no step and may take any time."""
        self._last = math.inf
        yield
        self._last = time.monotonic()

    def _watch(self) -> None:
        while not self._done.wait(min(self.timeout / 10, 1.0)):
            if time.monotonic() - self._last > self.timeout:
                self._end()

    def _end(self) -> None:
        with self.report.open("w") as file:
            file.write(f"step {self.step + 1}, process {os.getpid()}\n")
            faulthandler.dump_traceback(file, all_threads=True)
        text = (
            f"error: step {self.step + 1} took longer than --step-timeout={self.timeout:g} s; the stacks of all "
            f"threads are in {self.report}"
        )
        sys.stderr.write(f"\n{text}\n")  # below a progress bar, in one write
        sys.stderr.flush()
        if not self._done.wait(self.grace):  # else the main thread leaves with an error of its own
            self._leave(HUNG)
