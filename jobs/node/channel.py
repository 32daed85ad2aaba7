"""Channel: one end of a pipe between two processes, whose send never waits for the other end to read.

Messages may be larger than what a pipe holds (a batch of which most samples failed), and their reader may be busy for
minutes. So that two ends never wait for each other, the upper one never waits: the supervisor sends to its processes, a
process to its pool workers, and the supervisor of a Hierarchy to the caller through channels, and go on reading meanwhile.
What is sent upwards may wait, since it is always read.
"""

import os
import select
import selectors
import struct
from collections import deque
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from jobs.node.descriptors import send_descriptor

# A socket that is ready for writing has room for this much at least, of the 200 KB that Linux gives it.
_CHUNK = 1 << 14
# As multiprocessing's Connection reads it: the length of a message, or -1 and the length of a long one.
_LENGTH, _LONG = struct.Struct("!i"), struct.Struct("!iQ")


class Channel:
    """Around ``connection``, which it owns. ``events`` are what a selector is to wait for."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._unsent: deque[memoryview | int] = deque()
        self._room = select.poll()
        self._room.register(connection.fileno(), select.POLLOUT)

    def fileno(self) -> int:
        return self.connection.fileno()

    @property
    def closed(self) -> bool:
        return self.connection.closed

    @property
    def is_crowded(self) -> bool:
        """Whether the pipe did not take everything yet."""
        return bool(self._unsent)

    @property
    def events(self) -> int:
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)

    def poll(self) -> bool:
        """Whether there is something to receive, be it the end."""
        return self.connection.poll()

    def recv(self) -> Any:
        return self.connection.recv()

    def send(self, message: Any, descriptor: int | None = None) -> None:
        """Sends what the pipe takes now; the rest, in order, with ``flush``. Raises ConnectionError where nobody reads.

        ``descriptor`` follows the message, as a copy.
        """
        data = ForkingPickler.dumps(message)
        head = _LENGTH.pack(len(data)) if len(data) < 1 << 31 else _LONG.pack(-1, len(data))
        if len(data) < _CHUNK:
            self._unsent.append(memoryview(head + bytes(data)))
        else:
            self._unsent += (memoryview(head), memoryview(data))
        if descriptor is not None:
            self._unsent.append(os.dup(descriptor))
        self.flush()

    def flush(self) -> None:
        """To be called whenever the pipe is ready for writing."""
        try:
            while self._unsent and self._room.poll(0):
                self._send_some()
        except ConnectionError:
            self._forget()
            raise

    def _send_some(self) -> None:
        first = self._unsent.popleft()
        if isinstance(first, int):
            try:
                send_descriptor(self.connection, first)
            finally:  # also where nobody reads any more
                os.close(first)
            return
        sent = os.write(self.connection.fileno(), first[:_CHUNK])
        if sent < len(first):
            self._unsent.appendleft(first[sent:])

    def _forget(self) -> None:
        while self._unsent:
            first = self._unsent.popleft()
            if isinstance(first, int):
                os.close(first)

    def close(self) -> None:
        """What was not sent yet is dropped."""
        self._forget()
        self.connection.close()
