"""The processes of a run know of each other: who has not come, who was lost, who has failed.

JAX's own service tells neither: a process that waits for a missing one, or hears nothing from a lost one, is aborted
with a stack trace.  So before JAX starts, every process connects to process 0 by TCP and says who it is, and the
connections stay.  The kernel closes those of a process however it dies, and process 0 tells the others.

Messages are lines of ASCII: `ptdit_jax ID COUNT` from a process that comes, `missing ID...` or `go` in answer.
Then `at NUMBER` to process 0 from one that waits for the others at its NUMBERth meeting, `go NUMBER` to all when all
are there, and `who NUMBER`, answered to all by `late NUMBER ID...`, when it has waited too long; and in both directions
`end CODE` before an exit, and `gone ID CODE` from process 0 about another.
"""

import contextlib
import os
import selectors
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable

from ptdit_jax.processes import wire

LOST = 75  # exit code (EX_TEMPFAIL): a process is missing, was lost or has failed; the same command may be tried again
STOPS = (
    130,
    143,
)  # exit codes after signals, on which all agree: they save a checkpoint together before they end
GREETING = 3.0  # seconds that a process has to say who it is
NAMED = 200  # processes that a message names at most


class Missing(RuntimeError):
    """Not all processes came in time."""


class Peers:
    """The connections of one process: process 0 has one to each other, the others have one to process 0."""

    def __init__(
        self,
        process_id: int,
        count: int,
        connections: dict[int, socket.socket],
        leave: Callable[[int], object],
    ):
        """Watch them in a thread, which ends this process (`leave`) with `LOST` and a line when one is lost."""
        self._id, self._count, self._connections, self._leave = process_id, count, connections, leave
        self._ended: dict[int, int] = {}  # exit codes of those that are gone
        self._code: int | None = None  # that of this process, once it ends
        self._meetings = 0  # that this process has come to
        self._there: dict[int, set[int]] = defaultdict(set)  # meeting -> who is there; of process 0
        self._late: dict[int, list[int]] = {}  # meeting -> who is not, [] when all are there
        self._news = threading.Condition()  # its lock is taken again by the same thread in `_give_up`
        for connection in connections.values():
            wire.keep_alive(connection)
        self._thread = threading.Thread(target=self._watch, name="peers", daemon=True)
        self._thread.start()

    def end(self, code: int) -> bool:
        """Tell the others that this process ends with an exit code, so that it does not count as lost.

        If that is not 0 it waits for the others: those that end for the same reason are to say so themselves.

        Returns:
          Whether all others have ended too, with the same code; always with code 0, with which the first to end
          need not wait for the last.
        """
        self._code = code
        self._send(f"end {code}")
        if code == 0:
            return True
        deadline = time.monotonic() + _patience(code)
        while len(self._ended) < len(self._connections) and time.monotonic() < deadline:
            time.sleep(0.05)
        return len(self._ended) == len(self._connections) and set(self._ended.values()) == {code}

    def meet(self, where: str, timeout: float) -> None:
        """Wait until all processes are here, so that none waits for them where a library has a limit of its own.

        Args:
          where: what is to be done next, for the message.
          timeout: seconds that the others have to come.

        Raises:
          Missing: not all came; the message names those that did not.
        """
        number = self._meetings = self._meetings + 1
        if self._id == 0:
            self._arrive(0, number)
        else:
            self._send(f"at {number}")
        known = lambda: number in self._late  # noqa: E731
        with self._news:
            if not self._news.wait_for(known, timeout):
                if self._id == 0:
                    self._give_up(number)
                else:
                    self._send(f"who {number}")
                    self._news.wait_for(known, GREETING)
            absent = self._late.get(number, [0])
        if absent:
            raise Missing(_absence(absent, self._count, timeout, where))

    def wait_for_verdict(self) -> None:
        """After an operation with the others has failed: wait to be ended by the thread if one of them is gone."""
        self._thread.join(2 * wire.SILENCE)

    def _watch(self) -> None:
        doom = {}  # process that ended otherwise than well -> time to follow it
        with selectors.DefaultSelector() as selector:
            for number, connection in self._connections.items():
                selector.register(connection, selectors.EVENT_READ, number)
            while selector.get_map() or doom:
                for key, _ in selector.select(0.1 if doom else None):
                    sender, lines = key.data, wire.receive(self._connections[key.data])
                    for word, *numbers in (line.split() for line in lines):
                        if word == "gone":
                            self._follow(*map(int, numbers))
                        elif word == "at":
                            self._arrive(sender, int(numbers[0]))
                        elif word == "who":
                            self._give_up(int(numbers[0]))
                        elif word in ("go", "late"):
                            meeting, *late = map(int, numbers)
                            self._learn(meeting, *late)
                            if self._id in late:
                                self._end(
                                    f"process {self._id} came too late for the others (--start-timeout)"
                                )
                        else:
                            self._ended[sender] = code = int(numbers[0])
                            if code:
                                doom[sender] = time.monotonic() + _patience(code)
                    if not lines:
                        selector.unregister(key.fileobj)
                        if sender not in self._ended:
                            self._ended[sender] = LOST
                            self._follow(sender, LOST)
                for number, when in list(doom.items()):
                    if time.monotonic() > when:
                        del doom[number]
                        self._follow(number, self._ended[number])

    def _arrive(self, process: int, meeting: int) -> None:
        """Of process 0: note who is at a meeting, and open it when all are."""
        with self._news:
            self._there[meeting].add(process)
            if self._absent(meeting):
                return
        self._send(f"go {meeting}")
        self._learn(meeting)

    def _give_up(self, meeting: int) -> None:
        """Of process 0: tell all who is late for a meeting, so that they end for the same reason."""
        absent = self._absent(meeting)
        self._send(f"late {meeting} {' '.join(map(str, absent[:NAMED]))}")
        self._learn(meeting, *absent[:NAMED])

    def _absent(self, meeting: int) -> list[int]:
        return sorted({0, *self._connections} - self._there[meeting])

    def _learn(self, meeting: int, *late: int) -> None:
        with self._news:
            self._late[meeting] = list(late)
            self._news.notify_all()

    def _follow(self, number: int, code: int) -> None:
        if self._code:  # this process ends for a reason of its own
            return
        if self._id == 0:
            self._send(f"gone {number} {code}")
        how = "was lost" if code == LOST else f"has ended with exit code {code}"
        where = " (it connects the others)" if number == 0 else ""
        self._end(f"process {number} {how}{where}; process {self._id} ends too")

    def _end(self, reason: str) -> None:
        self._code = LOST
        # Below a progress bar, and in one write: libraries log meanwhile.
        sys.stderr.write(f"\nerror: {reason}\n")
        sys.stderr.flush()
        self._leave(LOST)

    def _send(self, line: str) -> None:
        wire.tell(self._connections.values(), line)


def _patience(code: int) -> float:
    """Seconds that processes leave each other to end with the same exit code."""
    return 60.0 if code in STOPS else 3.0


def call_the_roll(
    address: str,
    count: int,
    process_id: int,
    *,
    timeout: float,
    leave: Callable[[int], object] = os._exit,
) -> Peers:
    """Connect the processes of a run.

    Args:
      address: HOST:PORT of process 0; the port is free again when this returns.
      count: number of processes.
      process_id: of this one, 0 to count - 1.
      timeout: seconds that all have to come.
      leave: ends this process with an exit code when another is lost later.

    Raises:
      Missing: not all came; the message names those that did not.
      OSError: process 0 cannot listen on the port.
      ValueError: processes disagree about their number, or two have one id.
    """
    return Peers(process_id, count, connect(address, count, process_id, timeout=timeout), leave)


def connect(address: str, count: int, process_id: int, *, timeout: float) -> dict[int, socket.socket]:
    """The connections of one process, when all have come; see `call_the_roll`."""
    deadline = time.monotonic() + timeout
    if process_id == 0:
        connections = _gather(int(address.rpartition(":")[2]), count, deadline)
        absent = [number for number in range(1, count) if number not in connections]
        wire.tell(connections.values(), f"missing {' '.join(map(str, absent))}" if absent else "go")
        if absent:
            raise Missing(_absence(absent, count, timeout))
        return connections

    connection = _join(address, f"ptdit_jax {process_id} {count}", deadline)
    answer = connection and wire.answer(connection, deadline + GREETING)
    if not connection or not answer:
        raise Missing(_absence([0], count, timeout) + f"; it was to be at {address}")
    word, *numbers = answer.split()
    if word == "missing":
        raise Missing(_absence([int(number) for number in numbers], count, timeout))
    if word != "go":
        raise ValueError(answer)
    return {0: connection}


def _gather(port: int, count: int, deadline: float) -> dict[int, socket.socket]:
    """The connections of those that come."""
    connections: dict[int, socket.socket] = {}
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.create_server(
        ("", port), family=family, backlog=count, dualstack_ipv6=family == socket.AF_INET6
    ) as server:
        while len(connections) < count - 1 and (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            with contextlib.suppress(TimeoutError):
                connection, _ = server.accept()
                hello = (wire.answer(connection, min(deadline, time.monotonic() + GREETING)) or "").split()
                if len(hello) != 3 or hello[0] != "ptdit_jax":
                    connection.close()  # something else that found the port
                    continue
                number, theirs = int(hello[1]), int(hello[2])
                problem = None
                if theirs != count:
                    problem = f"--processes {theirs} of process {number} must be {count}, as for process 0"
                elif number in connections:
                    problem = (
                        f"--process-id {number} must differ from those of the others; two processes have it"
                    )
                if problem:
                    wire.tell([connection, *connections.values()], problem)
                    raise ValueError(problem)
                connections[number] = connection
    return connections


def _join(address: str, hello: str, deadline: float) -> socket.socket | None:
    """A connection to process 0, which may not be there yet."""
    host, _, port = address.rpartition(":")
    while (left := deadline - time.monotonic()) > 0:
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), timeout=min(left, 10))
            connection.sendall(f"{hello}\n".encode())
            return connection
        except OSError:
            time.sleep(min(0.2, left))
    return None


def _absence(absent: list[int], count: int, timeout: float, where: str = "") -> str:
    who = f"process {absent[0]}" if len(absent) == 1 else f"processes {', '.join(map(str, absent))}"
    where = f" to {where}" if where else ""
    return f"{who} of 0 to {count - 1} did not come{where} within {timeout:g} s (--start-timeout)"
