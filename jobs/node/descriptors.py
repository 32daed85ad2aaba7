"""Descriptors of open files, sent through a pipe after the message that tells of them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.reduction import recvfds, sendfds


def send_descriptor(connection: Connection, descriptor: int) -> None:
    """Sends a copy of it. Raises ConnectionError where nobody reads."""
    with _as_socket(connection) as pipe:
        sendfds(pipe, [descriptor])


def receive_descriptor(connection: Connection) -> int:
    """The next one, which is the caller's to close. Raises EOFError where the other end is gone."""
    with _as_socket(connection) as pipe:
        return int(recvfds(pipe, 1)[0])


@contextmanager
def _as_socket(connection: Connection) -> Iterator[socket.socket]:
    """A Job may have given all new sockets a time-out (socket.setdefaulttimeout), and the pipe would not wait any more."""
    with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as pipe:
        pipe.settimeout(None)
        yield pipe
