"""Ending a run from outside: the first signal asks, the second one ends at once."""

import os
import signal
from types import FrameType


class StopRequest:
    """While active, the first SIGTERM or Ctrl-C is only remembered; a second one has its usual effect.

    Attributes:
      signal: which signal came, or None.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._remember) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """What shells show for a process that the signal ended: 143 for SIGTERM, 130 for Ctrl-C."""
        assert self.signal is not None
        return 128 + self.signal
