"""Lines of text between processes, by TCP."""

import contextlib
import socket
import time
from collections.abc import Iterable

SILENCE = 30  # seconds without an answer from a machine's kernel after which its process counts as lost


def answer(connection: socket.socket, deadline: float) -> str | None:
    """One line, or None when none comes."""
    text = b""
    try:
        while not text.endswith(b"\n"):
            connection.settimeout(max(deadline - time.monotonic(), 0.01))
            received = connection.recv(1)  # what follows the line is for `receive`
            if not received:
                return None
            text += received
    except OSError:
        return None
    return text.decode(errors="replace").strip()


def receive(connection: socket.socket) -> list[str]:
    """What has come; empty at the end of the connection.  Messages are far shorter than a packet."""
    try:
        return connection.recv(4096).decode(errors="replace").splitlines()
    except OSError:
        return []


def tell(connections: Iterable[socket.socket], line: str) -> None:
    """Send a line to all; those that are gone are left out."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.sendall(f"{line}\n".encode())


def keep_alive(connection: socket.socket) -> None:
    """Let the kernel notice that the other machine is gone without a word."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, SILENCE // 3),
        (socket.TCP_KEEPINTVL, 5),
        (socket.TCP_KEEPCNT, 4),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
