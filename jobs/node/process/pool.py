"""Pool: the pool workers of one process as it sees them: hands out pieces, takes loaded ones, outlives their deaths.

The supervisor starts and replaces the workers; this side only keeps what each of them has in hand. Every worker has a
pipe of its own (no shared queue, so no lock that a dead worker could hold), and as many pieces in hand as slots.
"""

from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Protocol

from jobs.node.channel import Channel
from jobs.node.messages import Broken, Loaded, NewSlot, Piece
from jobs.node.process.job_runner import Fetch
from jobs.node.slots import SlotReader
from jobs.node.transfer import Arriving, Here, Transfer
from jobs.node.worker.loading import Loader

# One slot is filled while the process works on the other: the least that a worker needs.
SLOTS = 2
# More hide jitter, as long as they stay in the processor's cache. Measured with 32 MB of it and 2 workers: a third slot of
# 5 MB made runs 9% faster, one of 10 MB made them 13% slower. So a worker gets what fits into this, bytes, up to 4.
_RING = 20 << 20
_MOST_SLOTS = 4
# Of the task's memory, the share that loaded batches of all its processes may take. What a Job needs to load and to
# process them comes on top, and is as large again, or larger.
SHARE = 0.25


class PieceSource(Protocol):
    """Where a process gets loaded pieces from."""

    def submit(self, pieces: Sequence[Piece]) -> None: ...
    def take(self) -> Fetch | None:
        """The next piece for the Job, which stays valid until ``release``; None where there is none yet."""

    def release(self, loaded: Loaded) -> None: ...
    def size(self, loaded: Loaded) -> int:
        """Bytes of a piece, as far as that is known."""

    def drop(self) -> None:
        """Forgets the pieces that are waiting."""

    def stop(self) -> None: ...


class Inline:
    """The source of a process without workers, which loads its pieces itself."""

    def __init__(self, loader: Loader, transfer: Transfer) -> None:
        self._loader = loader
        self._transfer = transfer
        self._waiting: deque[Piece] = deque()

    def submit(self, pieces: Sequence[Piece]) -> None:
        self._waiting.extend(pieces)

    def take(self) -> Fetch | None:
        if not self._waiting:
            return None
        piece = self._waiting.popleft()

        def fetch() -> tuple[Loaded, Arriving]:
            loaded = self._loader.load(piece)
            batch = loaded.batch
            # Only what is arriving has the batch: a Job that is through with it must be the last to refer to it.
            return loaded._replace(batch=None), self._transfer.start(lambda: batch)

        return fetch

    def release(self, loaded: Loaded) -> None:
        pass  # nobody will write to that memory

    def size(self, loaded: Loaded) -> int:
        return 0

    def drop(self) -> None:
        self._waiting.clear()

    def stop(self) -> None:
        pass


class _Worker:
    """What the process knows of one worker."""

    def __init__(self, connection: Connection, transfer: Transfer) -> None:
        self.channel = Channel(connection)
        self.reader = SlotReader(connection, transfer)
        self.in_hand: dict[int, Piece] = {}
        self.free = list(range(_MOST_SLOTS))
        self.alive = True

    @property
    def used(self) -> int:
        """Slots that are being filled, or that the process has not given back."""
        return _MOST_SLOTS - len(self.free)

    def give_back(self, slot: int) -> None:
        self.free.append(slot)
        self._close_if_through()

    def bury(self) -> list[Piece]:
        """It is dead: returns the pieces that it had in hand. What it had loaded may still be used."""
        self.channel.close()
        lost = list(self.in_hand.values())
        self.free += self.in_hand
        self.in_hand.clear()
        self._close_if_through()
        return lost

    def _close_if_through(self) -> None:
        if self.channel.closed and not self.used:
            self.reader.close()


class Pool:
    """The source of a process with workers. ``on_broken`` is called with what a worker could not survive.

    ``memory`` is the process's part of the task's, bytes: where batches are large against it, fewer are under way.
    With ``poison`` batches are overwritten when they are through, not only when others take their place.
    """

    def __init__(
        self, on_broken: Callable[[Broken], None], transfer: Transfer, memory: int, *, poison: bool = False
    ) -> None:
        self._poison = poison
        self._on_broken = on_broken
        self._transfer = transfer
        self._budget = int(SHARE * memory)
        self._largest = 0
        self._workers: dict[int, _Worker] = {}
        self._waiting: deque[Piece] = deque()
        self._loaded: deque[tuple[_Worker, Loaded]] = deque()
        self._taken: dict[int, tuple[_Worker, Arriving]] = {}

    def replace(self, index: int, connection: Connection) -> list[Piece]:
        """Adds worker ``index``, or its successor; returns the pieces that its predecessor had in hand."""
        old = self._workers.get(index)
        self._workers[index] = _Worker(connection, self._transfer)
        if old is None:
            return []
        while old.alive and old.channel.poll():  # what it had still sent need not be loaded again
            self._receive(old)
        return old.bury()

    def submit(self, pieces: Sequence[Piece], *, first: bool = False) -> None:
        """Queues pieces; ``first`` puts them before the others (retries)."""
        if first:
            self._waiting.extendleft(reversed(pieces))
        else:
            self._waiting.extend(pieces)
        self._hand_out()

    def _hand_out(self) -> None:
        """Gives pieces to workers with a slot to spare, as long as one more fits into the budget; one is always under way."""
        fit = _RING // self._largest if self._largest else 0
        most = max(SLOTS + self._transfer.on_their_way, min(fit, _MOST_SLOTS))
        while self._waiting:
            idle = [worker for worker in self._workers.values() if worker.alive and worker.used < most]
            if not idle:
                return
            in_hand = sum(len(worker.in_hand) for worker in self._workers.values())
            under_way = in_hand + len(self._loaded) + len(self._taken)
            if under_way and (under_way + 1) * self._largest > self._budget:
                return
            worker = min(idle, key=lambda candidate: candidate.used)
            self._send(worker, self._waiting.popleft())

    def _send(self, worker: _Worker, piece: Piece) -> None:
        piece = piece._replace(slot=worker.free.pop())
        worker.in_hand[piece.slot] = piece
        try:
            worker.channel.send(piece)
        except ConnectionError:
            worker.alive = False  # its successor gets the piece, see replace

    @property
    def crowded(self) -> set[int]:
        """The workers whose pipes did not take all that is for them yet; ``flush`` goes on when they do."""
        return {index for index, worker in self._workers.items() if worker.alive and worker.channel.is_crowded}

    def flush(self, index: int) -> None:
        """Sends worker ``index`` more of what is for it."""
        worker = self._workers[index]
        try:
            worker.channel.flush()
        except ConnectionError:
            worker.alive = False

    def receive(self, index: int) -> bool:
        """Takes one message of worker ``index``; False where the worker is gone."""
        worker = self._workers[index]
        self._receive(worker)
        return worker.alive

    def _receive(self, worker: _Worker) -> None:
        try:
            message = worker.channel.recv()
            if isinstance(message, NewSlot):
                worker.reader.accept(message)
                self._largest = max(self._largest, message.size)
        except (EOFError, OSError):  # OSError: it died in the middle of a message
            worker.alive = False
            return
        if isinstance(message, Loaded):
            del worker.in_hand[message.piece.slot]
            self._loaded.append((worker, message))
        elif isinstance(message, Broken):
            self._on_broken(message)

    def take(self) -> Fetch | None:
        """A loaded piece, on its way to the device from now on."""
        if not self._loaded:
            return None
        worker, loaded = self._loaded.popleft()
        arriving: Arriving = Here(lambda: None)
        if loaded.batch is not None:
            arriving = self._transfer.start(lambda: worker.reader.get(loaded.piece.slot, loaded.batch))
        self._taken[id(loaded)] = worker, arriving
        return lambda: (loaded, arriving)

    def release(self, loaded: Loaded) -> None:
        """Gives the piece's slot back to its worker, which gets the next piece."""
        worker, arriving = self._taken.pop(id(loaded))
        arriving.wait_until_read()  # the worker writes into the slot from now on
        if self._poison and loaded.batch is not None:
            worker.reader.poison(loaded.piece.slot, loaded.batch)
        worker.give_back(loaded.piece.slot)
        self._hand_out()

    def size(self, loaded: Loaded) -> int:
        placed = loaded.batch
        return 0 if placed is None else placed.size + (len(placed.pickle) if isinstance(placed.pickle, bytes) else 0)

    def drop(self) -> None:
        """What workers have in hand still comes."""
        self._waiting.clear()

    def stop(self) -> None:
        """Closes the pipes; workers tear down and exit at their end."""
        for worker in self._workers.values():
            worker.channel.close()
