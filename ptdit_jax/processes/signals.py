"""Ending a run from outside: the first signal asks, the second one ends at once.

A signal reaches one process of a run; `Agreement` tells the others, so that all stop after the same step.
"""

import os
import signal
from types import FrameType

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec


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


def exit_code(number: int) -> int:
    """What shells show for a process that a signal ended: 143 for SIGTERM, 130 for Ctrl-C."""
    return 128 + number


class Agreement:
    """The largest number that any process gives, the same on all, without waiting for the devices.

    With one process that is the number itself.  With more it is a maximum over all devices, computed behind the step
    that is under way; a call returns that of the call before, which has ended with the step before.
    """

    def __init__(self) -> None:
        """Compile; every process must come here."""
        self._last: jax.Array | None = None
        if jax.process_count() == 1:
            return
        mesh = jax.make_mesh((jax.device_count(),), ("device",), axis_types=(AxisType.Auto,))
        self._place = NamedSharding(mesh, PartitionSpec("device"))
        shape = jax.ShapeDtypeStruct((jax.device_count(),), jnp.int32, sharding=self._place)
        whole = NamedSharding(mesh, PartitionSpec())
        self._largest = jax.jit(jnp.max, out_shardings=whole).lower(shape).compile()

    def __call__(self, number: int) -> int:
        """Give a number of at least 0, and get what all agreed on in the call before; 0 in the first."""
        if jax.process_count() == 1:
            return number
        mine = np.full(jax.local_device_count(), number, np.int32)
        before = self._last
        self._last = self._largest(jax.make_array_from_process_local_data(self._place, mine))
        return 0 if before is None else int(jax.device_get(before))

    def now(self, number: int) -> int:
        """What all agree on in this call; waits for it."""
        mine = self(number)
        return mine if jax.process_count() == 1 else self(0)
