"""Start the processes of a run on this machine, and start them again when one fails; called by run.sh.

    python launch/processes.py [--processes P] [--devices D] [--max-restarts N] -- COMMAND...

With --processes, P copies of COMMAND run with `--coordinator 127.0.0.1:PORT --processes P --process-id I` appended,
on the CPU with D devices each, and every line they print starts with [pI].  Without it, one COMMAND as it is.

The exit code is that of the process that failed first, or 75 where a signal killed it.  After any other than 0, 2
(the command or the config is wrong), 130 and 143 (Ctrl-C and SIGTERM: saved, as asked) everything starts again, up
to N times.  SIGTERM and Ctrl-C are passed on; when this process dies, the kernel kills the others.
"""

import argparse
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h; ptdit_jax.processes.peers.LOST
STOPPED = (130, 143)  # exit codes after Ctrl-C and SIGTERM
FINAL = (0, 2, *STOPPED)  # exit codes after which nothing is started again
GRACE = 90.0  # seconds that the others have to end by themselves after one has failed
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
LIBC = ctypes.CDLL(None)


class Group:
    """The processes of one attempt."""

    def __init__(self, commands: list[list[str]], environment: dict[str, str], *, prefix: bool):
        """Start them all, each in a session of its own: what a terminal sends reaches only this process."""
        pipe = subprocess.PIPE if prefix else None
        parent = os.getpid()
        self.processes = [
            subprocess.Popen(
                command,
                env=environment,
                stdout=pipe,
                stderr=pipe,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),
            )
            for command in commands
        ]
        self.lock = threading.Lock()
        self.readers = [
            threading.Thread(target=self._copy, args=(source, target.buffer, b"[p%d] " % i))
            for i, process in enumerate(self.processes)
            for source, target in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
            if source is not None
        ]
        for reader in self.readers:
            reader.start()

    def wait(self) -> int:
        """Wait for all; the exit code of the first that failed, 0 when none did."""
        first = 0
        deadline = float("inf")
        waiting = list(self.processes)
        while waiting:
            ended = [process for process in waiting if process.poll() is not None]
            for process in sorted(ended, key=lambda process: process.returncode == TRY_AGAIN):
                waiting.remove(process)
                if process.returncode and not first:  # of several at once, one that did not end for another
                    first = _exit_code(process.returncode)
                    if first not in STOPPED:  # else they may be saving a checkpoint
                        deadline = time.monotonic() + GRACE
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
            time.sleep(0.05)
        for reader in self.readers:
            reader.join()
        return first

    def signal(self, number: int) -> None:
        """Send a signal to all that live."""
        for process in self.processes:
            process.send_signal(number)  # does nothing to one that has ended

    def _copy(self, source: IO[bytes], target: IO[bytes], prefix: bytes) -> None:
        """Copy whole lines, the states of a progress bar as lines too."""
        rest = b""
        while chunk := os.read(source.fileno(), 65536):
            *lines, rest = (rest + chunk.replace(b"\r", b"\n")).split(b"\n")
            self._print([line for line in lines if line.strip()], target, prefix)
        self._print([rest] if rest else [], target, prefix)

    def _print(self, lines: list[bytes], target: IO[bytes], prefix: bytes) -> None:
        with self.lock:
            target.write(b"".join(prefix + line + b"\n" for line in lines))
            target.flush()


def main(arguments: argparse.Namespace) -> int:
    """Run the command until it ends well, is stopped or has failed too often; returns its exit code."""
    group: Group | None = None
    asked: int | None = None

    def pass_on(number: int, frame: object) -> None:
        nonlocal asked
        asked = number
        if group is not None:
            group.signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)

    for attempt in range(arguments.max_restarts + 1):
        group = _start(arguments)
        if asked is not None:  # before there was a group to pass it on to
            group.signal(asked)
        code = group.wait()
        if asked is not None or code in FINAL or attempt == arguments.max_restarts:
            return code
        print(
            f"[processes.py] exit code {code}; restart {attempt + 1} of {arguments.max_restarts}",
            file=sys.stderr,
            flush=True,
        )
    raise AssertionError("the last attempt returns")


def _start(arguments: argparse.Namespace) -> Group:
    if arguments.processes is None:
        return Group([arguments.command], dict(os.environ), prefix=False)
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(arguments.devices),
        "PYTHONUNBUFFERED": "1",
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    place = ["--coordinator", address, "--processes", str(arguments.processes)]
    commands = [[*arguments.command, *place, "--process-id", str(i)] for i in range(arguments.processes)]
    return Group(commands, environment, prefix=True)


def _exit_code(returncode: int) -> int:
    """As shells show it for a process that was asked to end; one that was killed otherwise may be started again."""
    if returncode in (-signal.SIGTERM, -signal.SIGINT):
        return 128 - returncode
    return TRY_AGAIN if returncode < 0 else returncode


def _die_with(parent: int) -> None:
    """In a new process: be killed when the one that started it dies."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has died already
        os.kill(os.getpid(), signal.SIGKILL)


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--max-restarts", type=int, default=0)
    parser.add_argument("command", nargs="+")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(parse(sys.argv[1:])))
