"""What a run tells: `metrics.csv` (a row a step), TensorBoard and the log (every `log_every` steps), and the bar.

Columns that only some steps have, such as `evaluation_...`, are empty in the other rows.
`metrics.csv` holds only what is a function of the config and the data, so a resumed run writes the same bytes
as an uninterrupted one; speeds go to TensorBoard and to the bar.
"""

import collections
import contextlib
import dataclasses
import errno
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from ptdit_jax.progress import Bar

SHOWN = 50  # steps that the bar's utilisation is of, at most
WAITS = ("data", "checkpoint")
"""What a step may wait for, besides the devices: the next batch, and the start of a save."""


class CsvLog:
    """A table that survives the process: rows are written at once, a resume cuts those beyond its step."""

    def __init__(self, path: Path, *, step: int):
        """Open `path` after the row of `step` (0: an empty table).

        Args:
          path: the file; its first column is the step.
          step: the last row to keep; rows after it, and half a row from a crash, are removed.

        Raises:
          ValueError: rows up to `step` are missing.
        """
        self.path = path
        self.columns: list[str] | None = None
        content = path.read_bytes() if path.exists() and step else b""
        kept = _rows_until(content, step)
        if step and _last_step(kept) != step:
            raise ValueError(
                f"{path} ends at step {_last_step(kept)}, but the checkpoint to resume is of step {step}: "
                "bring the file back, or use another --workdir"
            )
        if kept:
            self.columns = kept.split(b"\n", 1)[0].decode().split(",")
        self.file = path.open("r+b" if kept else "wb", buffering=0)
        self.file.truncate(len(kept))
        self.file.seek(len(kept))

    def write(self, step: int, values: dict[str, np.ndarray | None]) -> None:
        """Append a row; float32 values are written in the fewest digits that read back the same, None as nothing.

        Raises:
          ValueError: the values have other names than the rows before.
        """
        columns = ["step", *values]
        cells = ("" if value is None else str(np.float32(value)) for value in values.values())
        row = ",".join([str(step), *cells]) + "\n"
        if self.columns is None:
            self.columns = columns
            row = ",".join(columns) + "\n" + row
        if columns != self.columns:
            raise ValueError(f"{self.path} has columns {self.columns}, this version writes {columns}")
        if self.file.write(row.encode()) < len(row):  # the end of a disk takes a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        """Force the rows to the disk itself; done before a checkpoint that counts on them."""
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def _rows_until(content: bytes, step: int) -> bytes:
    """The header and the whole rows of steps 1 to `step`."""
    end = content.find(b"\n") + 1
    while end < len(content):
        after = content.find(b"\n", end) + 1
        number = content[end:after].split(b",", 1)[0]
        if not after or not number.isdigit() or int(number) > step:
            break
        end = after
    return content[:end]


def _last_step(rows: bytes) -> int:
    last = rows.rstrip(b"\n").rsplit(b"\n", 1)[-1].split(b",", 1)[0]
    return int(last) if last.isdigit() else 0


class Board:
    """TensorBoard events, written at once: `SummaryWriter` would hide a full disk in a thread, then hang."""

    def __init__(self, folder: Path, *, step: int):
        """Start a new event file; points after `step` that older files hold are hidden."""
        folder.mkdir(parents=True, exist_ok=True)
        self.writer = EventsWriter(str(folder / "events"), f".{os.getpid()}")
        if step:
            start = SessionLog(status=SessionLog.START)
            self.writer.write_event(Event(wall_time=time.time(), step=step + 1, session_log=start))

    def add(self, step: int, values: dict[str, float]) -> None:
        """A point of each curve."""
        for name, value in values.items():
            self.writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()


@dataclasses.dataclass(frozen=True)
class Work:
    """What a step amounts to, over all devices.

    Attributes:
      images: samples.
      tokens: of all samples.
      flops: the network needs, forward and backward; what remat computes again does not count.
      peak_flops: FLOP/s of all devices at most; None where that is not known.
    """

    images: int
    tokens: int
    flops: float
    peak_flops: float | None

    def speeds(self, steps: int, seconds: float) -> dict[str, float]:
        """Rates over a number of steps: seconds a step, images, tokens and FLOPs a second, share of the peak."""
        rate = steps / max(seconds, 1e-9)
        speeds = {
            "step_seconds": 1 / rate,
            "images_per_second": rate * self.images,
            "tokens_per_second": rate * self.tokens,
            "model_flops_per_second": rate * self.flops,
        }
        if self.peak_flops:
            speeds["utilisation"] = rate * self.flops / self.peak_flops
        return speeds


def mean_work(works: Sequence[Work]) -> Work:
    """The work of a step on average over some."""
    if len(set(works)) == 1:
        return works[0]
    tokens, flops = (sum(getattr(work, name) for work in works) / len(works) for name in ("tokens", "flops"))
    return dataclasses.replace(works[0], tokens=round(tokens), flops=flops)


class Progress:
    """CSV, TensorBoard and the bar of a run, all fed by `write`.

    TensorBoard has what is in the table under train/, and under speed/ `Work.speeds` and the shares of time that this
    process waited for, see `waiting`, each over the steps since the point before.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        step: int,
        steps: int,
        work: Work,
        log_every: int,
        active: bool,
        seldom: Sequence[str] = (),
    ):
        """Start after `step`.

        Args:
          workdir: the run's folder.
          step: steps done before.
          steps: steps when the run is done.
          work: of a step, for the speeds.
          log_every: steps between points on TensorBoard, and between lines where there is no terminal for the bar.
          active: False on all processes but one, which then write and show nothing.
          seldom: names of figures that only some steps have.

        Raises:
          ValueError: see `CsvLog`.
        """
        self.workdir, self.active, self.seldom = workdir, active, seldom
        self.work, self.log_every = work, log_every
        self.marked_step, self.marked_time = step, time.perf_counter()
        self.since: list[Work] = []  # of the steps after that
        self.waited = collections.defaultdict[str, float](float)  # seconds
        if active:
            self.csv = CsvLog(workdir / "metrics.csv", step=step)
            self.board = Board(workdir / "tensorboard", step=step)
        self.bar = Bar(steps, "train", "step", done=step, every=log_every, silent=not active)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except OSError:
            if kind is None:  # otherwise the same full disk has been reported
                raise

    def write(self, step: int, values: dict[str, np.ndarray], work: Work | None = None) -> None:
        """Record the metrics of a finished step, whose work was another than that of the others, if given.

        Raises:
          OSError: naming the folder, when it is full or gone.
        """
        if not self.active:
            return
        self.since.append(work or self.work)
        try:
            self._write(step, values)
        except OSError as error:
            what = f"metrics cannot be written: {error.strerror}"
            raise OSError(error.errno, what, str(self.workdir)) from error

    def _write(self, step: int, values: dict[str, np.ndarray]) -> None:
        found = {name: values[name] for name in self.seldom if name in values}
        values = {"loss": values["loss"]} | {name: v for name, v in values.items() if name not in found}
        self.csv.write(step, values | {name: found.get(name) for name in self.seldom})
        if found:
            self.board.add(step, {name.replace("_", "/", 1): float(value) for name, value in found.items()})
        if step % self.log_every == 0 or step == self.bar.total:
            points = {f"train/{name}": float(value) for name, value in values.items()}
            self.board.add(
                step, points | {f"speed/{name}": value for name, value in self._speeds(step).items()}
            )
        rate, work = self.bar.rate, mean_work(self.since[-SHOWN:] or [self.work])
        speed = f"{rate * work.images:.0f}" if rate else "?"
        if rate and work.peak_flops:
            speed += f", utilisation={rate * work.flops / work.peak_flops:.0%}"
        self.bar.update(text=f"loss={float(values['loss']):.4f}, images/s={speed}")

    def _speeds(self, step: int) -> dict[str, float]:
        """Speeds and shares since the last call."""
        now = time.perf_counter()
        seconds = max(now - self.marked_time, 1e-9)
        speeds = mean_work(self.since or [self.work]).speeds(step - self.marked_step, seconds)
        self.since.clear()
        speeds |= {f"{what}_share": self.waited[what] / seconds for what in WAITS}
        self.marked_step, self.marked_time = step, now
        self.waited.clear()
        return speeds

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Counts the time inside as spent on `what`, one of `WAITS`."""
        assert what in WAITS, what
        began = time.perf_counter()
        yield
        self.waited[what] += time.perf_counter() - began

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Counts the time inside to no step: something else is done."""
        began = time.perf_counter()
        yield
        self.marked_time += time.perf_counter() - began

    def say(self, text: str) -> None:
        """A line on the screen that leaves the bar whole."""
        self.bar.write(text)

    def sync(self) -> None:
        """Rows to the disk, before a checkpoint that counts on them."""
        if self.active:
            self.csv.sync()

    def close(self) -> None:
        """End the bar and close the files."""
        self.bar.close()
        if self.active:
            self.csv.close()
            self.board.close()
