"""Switchboard: the pipes of a device process, to the supervisor and to its pool workers, and who listens to what.

Whoever has it (a Messenger) decides what is said; waiting, and the coming and going of workers, are here.
"""

import selectors
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from jobs.node.descriptors import receive_descriptor
from jobs.node.messages import Allocate, Allocated, Batch, Piece, Worker
from jobs.node.process.pool import PieceSource, Pool

Again = Callable[[Piece, Sequence[Batch]], list[Piece]]
"""The pieces to load in the place of one that its worker died on; the batches are with what is known of them since."""


class Switchboard:
    """``obey`` is called with each message of the supervisor; ``descriptor`` is readable when there is something to hear."""

    def __init__(self, connection: Connection, source: PieceSource, obey: Callable[[Any], None], again: Again) -> None:
        self._connection = connection
        self._source = source
        self._obey = obey
        self._again = again
        self._backlog: deque[Any] = deque()
        self._worker_pipes: dict[int, Connection] = {}
        self._crowded: set[int] = set()
        self._selector = selectors.EpollSelector()
        self.listen_to(connection, lambda _: self._hear(connection.recv()))

    @property
    def descriptor(self) -> int:
        return self._selector.fileno()

    @property
    def has_backlog(self) -> bool:
        """Whether something was said that nobody has heard yet, and of which the descriptor does not tell."""
        return bool(self._backlog)

    def listen_to(self, file: Connection | int, callback: Callable[[int], object]) -> None:
        """Calls back, with the events, when there is something to read."""
        self._selector.register(file, selectors.EVENT_READ, callback)

    def send(self, message: Any) -> None:
        """To the supervisor."""
        self._connection.send(message)

    def ask(self, request: Allocate) -> Allocated:
        """Asks the supervisor for the layout; what else it says meanwhile waits in the backlog."""
        self._connection.send(request)
        while not isinstance(message := self._connection.recv(), Allocated):
            if isinstance(message, Worker):  # a descriptor follows it in the pipe
                self._new_worker(message)
            else:
                self._backlog.append(message)
        return message

    def listen(self, timeout: float | None) -> None:
        """Waits until there is something to hear, or for so long, and hears it."""
        while self._backlog:
            self._obey(self._backlog.popleft())
            timeout = 0
        self.await_room()
        for key, events in self._selector.select(timeout):
            key.data(events)

    def await_room(self) -> None:
        """Has the selector tell when a worker's pipe takes more: a piece may be too large for it, and nobody waits for that."""
        if not isinstance(self._source, Pool):
            return
        crowded = self._source.crowded
        for number in crowded ^ self._crowded:
            if connection := self._worker_pipes.get(number):
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if number in crowded else 0)
                self._selector.modify(connection, events, self._selector.get_key(connection).data)
        self._crowded = crowded

    def _hear(self, message: Any) -> None:
        if isinstance(message, Worker):
            self._new_worker(message)
        else:
            self._obey(message)

    def _new_worker(self, message: Worker) -> None:
        pool = self._source
        assert isinstance(pool, Pool)
        # Taken from the pipe at once, whatever else is under way: it follows the message.
        connection = Connection(receive_descriptor(self._connection))
        self._forget_worker(message.number)
        self._worker_pipes[message.number] = connection
        self.listen_to(connection, lambda events: self._hear_worker(pool, message.number, connection, events))
        for piece in pool.replace(message.number, connection):
            pool.submit(self._again(piece, message.batches), first=True)
        pool.submit([])  # the new worker gets what waits, also where nothing was lost

    def _hear_worker(self, pool: Pool, number: int, connection: Connection, events: int) -> None:
        # Its successor may have come just before, and its last words were read then.
        if self._worker_pipes.get(number) is not connection:
            return
        if events & selectors.EVENT_WRITE:
            pool.flush(number)
        if events & selectors.EVENT_READ and not pool.receive(number):
            self._forget_worker(number)

    def _forget_worker(self, number: int) -> None:
        self._crowded.discard(number)
        connection = self._worker_pipes.pop(number, None)
        if connection:
            self._selector.unregister(connection)
