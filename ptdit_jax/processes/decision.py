"""What process 0 decides, on all processes, where none of them has started JAX.

Each time the processes connect to process 0 as `peers` describes, on the port that a run will use, and let go of it
again.  Those that came send a number, process 0 decides, and sends a line of JSON.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from ptdit_jax.processes import peers, wire
from ptdit_jax.processes.distributed import Launch

DAY = 24 * 3600.0  # seconds that process 0 may take to decide; one that is lost is noticed at once


def by_first(launch: Launch, number: int, decide: Callable[[int], Any]) -> Any:
    """What `decide` returns on process 0, which alone calls it, on every process.

    Args:
      launch: how this process was started, with its place (`distributed.resolve`).
      number: of this process, at least 0.
      decide: takes the largest number of all; returns something that JSON can hold, and does not raise.

    Raises:
      Missing: not all came within the start timeout, or process 0 was lost.
    """
    if launch.processes in (None, 1):
        return decide(number)
    assert launch.coordinator is not None
    assert launch.processes is not None
    assert launch.process_id is not None
    connections = peers.connect(
        launch.coordinator, launch.processes, launch.process_id, timeout=launch.start_timeout
    )
    try:
        for connection in connections.values():
            wire.keep_alive(connection)
        if launch.process_id == 0:
            numbers = [wire.answer(one, _until(launch.start_timeout)) for one in connections.values()]
            answer = decide(max(number, *(int(text or 0) for text in numbers)))
            wire.tell(connections.values(), json.dumps(answer))
            for connection in connections.values():  # who closes first keeps the port busy for a while
                wire.answer(connection, _until(peers.GREETING))
            return answer
        wire.tell(connections.values(), str(number))
        text = wire.answer(connections[0], _until(DAY))
        if text is None:
            raise peers.Missing("process 0 was lost (it connects the others)")
        return json.loads(text)
    finally:
        for connection in connections.values():
            connection.close()


def _until(seconds: float) -> float:
    return time.monotonic() + seconds
