"""How far something is: a bar on a terminal, now and then a line in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO, TypeVar

import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")
SECONDS = 5.0  # between lines at least
LINE = "{desc}: {n_fmt}/{total_fmt} {unit}{postfix}, {rate_fmt}, {elapsed} gone, {remaining} left"


class Bar:
    """Counts units of work, and shows them on standard error.

    A terminal gets tqdm's bar.  A log, a pipe, and a terminal under `TQDM_DISABLE=1` get lines, without carriage
    returns: at multiples of `every`, those that come at least `SECONDS` after the line before, and where it ends.
    Their speed is that since the line before.
    """

    def __init__(
        self,
        total: int,
        name: str,
        unit: str,
        *,
        done: int = 0,
        every: int | None = None,
        silent: bool = False,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Start to count.

        Args:
          total: units when all is done.
          name: of the work.
          unit: one of it, "step".
          done: units done before.
          every: units between lines; the first comes as soon as there are so many.  None: any number, and the first
            line waits too.
          silent: show nothing.
          file: a stream other than standard error.
          clock: seconds.
        """
        self.total, self.done, self.every = total, done, every or 1
        self.silent = silent
        self._file, self._clock = file or sys.stderr, clock
        self._names = {"prefix": name, "unit": unit, "initial": done}
        self._text = ""
        self._began = clock()
        self._last = done, self._began  # count and time of the last line, or of the start
        self._rate: float | None = None  # of the last line
        self._due = self._began + (0 if every else SECONDS)
        self._bar: Any = None
        if not silent and self._file.isatty():
            options = {"desc": name, "unit": unit, "initial": done, "smoothing": 0.1, "dynamic_ncols": True}
            bar = tqdm.tqdm(total=total, file=self._file, **options)
            self._bar = None if bar.disable else bar  # tqdm has read TQDM_DISABLE

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None or self._bar is not None:  # after an error its line is enough
            self.close()

    @property
    def rate(self) -> float | None:
        """Units a second lately; None before that is known."""
        if self._bar is not None:
            return self._bar.format_dict["rate"]
        (count, before), now = self._last, self._clock()
        return (self.done - count) / (now - before) if self.done > count and now > before else self._rate

    def update(self, count: int = 1, text: str | None = None) -> None:
        """Count units.

        Args:
          count: how many more are done.
          text: about the last of them, shown beside the count; None leaves what is shown.
        """
        if text is not None:
            self.note(text, now=False)
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self.done // self.every > (self.done - count) // self.every and self._clock() >= self._due:
            self._say()

    def note(self, text: str, *, now: bool = True) -> None:
        """Show a text beside the count; a bar shows it `now`, or with its next state."""
        self._text = text
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=now)

    def counting(self, function: Callable[[Item], Result]) -> Callable[[Item], Result]:
        """The function, each call of which counts a unit."""

        def call(argument: Item) -> Result:
            result = function(argument)
            self.update()
            return result

        return call

    def write(self, text: str) -> None:
        """A line on standard output that leaves the bar whole."""
        if not self.silent:
            tqdm.tqdm.write(text)
            sys.stdout.flush()

    def close(self) -> None:
        """End the bar, or say where it ended."""
        if self._bar is not None:
            self._bar.close()
        elif self.done > self._last[0]:
            self._say()

    def _say(self) -> None:
        self._rate, self._last = self.rate, (self.done, self._clock())
        self._due = self._last[1] + SECONDS
        if not self.silent:
            elapsed = self._last[1] - self._began
            options = {"rate": self._rate, "postfix": self._text, "bar_format": LINE, **self._names}
            line = tqdm.tqdm.format_meter(self.done, self.total, elapsed, **options)
            print(" ".join(line.split()), file=self._file, flush=True)  # tqdm pads


def track(items: Iterable[Item], total: int, name: str, unit: str, **options: Any) -> Iterator[Item]:
    """The items, counted as they are used up; the other arguments are those of `Bar`."""
    with Bar(total, name, unit, **options) as bar:
        for item in items:
            yield item
            bar.update()
