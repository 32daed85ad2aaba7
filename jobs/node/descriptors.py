"""Descriptors of open files, sent through a pipe after the message that tells of them.

multiprocessing's send_handle would do until Python 3.13. From 3.14 on it waits for an answer in the same pipe, takes what the
other end says meanwhile for it, and waits for ever for one who is busy.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection


def send_descriptor(connection: Connection, descriptor: int) -> None:
    """Sends a copy, and waits for nothing but room in the pipe. Raises ConnectionError where nobody reads."""
    with _as_socket(connection) as pipe:
        socket.send_fds(pipe, [b"\0"], [descriptor])


def receive_descriptor(connection: Connection) -> int:
    """The next one, which is the caller's to close, and of no program that it starts. Raises EOFError where nobody sends."""
    with _as_socket(connection) as pipe:
        data, found, _, _ = socket.recv_fds(pipe, 1, 1)
    if not data:
        raise EOFError
    if not found:
        raise RuntimeError("a file that was sent cannot be opened: too many are open (see ulimit -n)")
    os.set_inheritable(found[0], False)  # recv_fds heeds no flags, which could ask for it, in all Pythons
    return found[0]


@contextmanager
def _as_socket(connection: Connection) -> Iterator[socket.socket]:
    """A Job may have given all new sockets a time-out (socket.setdefaulttimeout), and the pipe would not wait any more."""
    with socket.fromfd(connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as pipe:
        pipe.settimeout(None)
        yield pipe
