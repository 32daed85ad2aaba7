"""Pool: how many pieces a worker has in hand, and where they go when it dies. The test plays the worker."""

import mmap
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np
import pytest

from jobs.node.messages import Loaded, Piece
from jobs.node.process.pool import Pool
from jobs.node.slots import SlotWriter
from jobs.node.transfer import Stay, Transfer

MB = 1 << 20


def pieces(count: int) -> list[Piece]:
    return [Piece(start, start, start + 1) for start in range(count)]


def arrived(connection: Connection) -> Iterator[Piece]:
    while connection.poll():
        yield connection.recv()


class Locks(Stay):
    """Notes which memory is page-locked."""

    def __init__(self) -> None:
        self.locked: list[mmap.mmap] = []

    def lock(self, memory: mmap.mmap) -> None:
        self.locked.append(memory)

    def unlock(self, memory: mmap.mmap) -> None:
        self.locked.remove(memory)


class Player:
    """Plays worker 0 of a pool that has no other."""

    def __init__(self, memory: int, transfer: Transfer | None = None) -> None:
        self.pool = Pool(lambda broken: pytest.fail(broken.message), transfer or Stay(), memory)
        self._pools, self.connection = Pipe()
        self._writer = SlotWriter(self.connection)
        assert self.pool.replace(0, self._pools) == []

    def load(self, piece: Piece, size: int) -> None:
        """Loads a piece, and has the pool take it."""
        batch = self._writer.put(piece.slot, np.full(size, piece.start, np.uint8))
        self.connection.send(Loaded(piece, range(piece.start, piece.stop), batch, ()))
        while self._pools.poll():
            assert self.pool.receive(0)


@pytest.mark.parametrize(
    ("size", "memory", "slots"),
    [(1000, 1 << 30, 4), (5 * MB, 1 << 30, 3), (10 * MB, 1 << 30, 2), (5 * MB, 50 * MB, 2), (5 * MB, MB, 1)],
)
def test_a_worker_has_more_pieces_in_hand_where_they_are_small_and_fewer_where_memory_is(
    size: int, memory: int, slots: int
) -> None:
    player = Player(memory)
    pool = player.pool
    pool.submit(pieces(20))
    in_hand = list(arrived(player.connection))
    assert len(in_hand) == 2
    seen = []
    while in_hand:
        piece = in_hand.pop(0)
        player.load(piece, size)
        fetch = pool.take()
        assert fetch
        loaded, arriving = fetch()
        assert (arriving.take() == piece.start).all()
        pool.release(loaded)
        in_hand += arrived(player.connection)
        seen.append(len(in_hand))
        assert len({piece.slot for piece in in_hand}) == len(in_hand)
    assert len(seen) == 20
    assert seen[2] == max(seen[2:]) == slots


def test_what_a_dead_worker_had_in_hand_is_returned() -> None:
    player = Player(1 << 30)
    pool = player.pool
    pool.submit(pieces(5))
    had = list(arrived(player.connection))
    player.connection.close()
    assert not pool.receive(0)
    ours, successor = Pipe()
    assert pool.replace(0, ours) == had
    pool.submit(had, first=True)
    assert [piece.start for piece in arrived(successor)] == [0, 1]


@pytest.mark.parametrize("loaded", [0, 1, 2])
def test_slots_of_a_dead_worker_are_unlocked_when_the_last_of_its_batches_was_used(loaded: int) -> None:
    transfer = Locks()
    player = Player(1 << 30, transfer)
    pool = player.pool
    pool.submit(pieces(2))
    for piece in list(arrived(player.connection))[:loaded]:
        player.load(piece, 100)
    taken = [fetch()[0] for fetch in iter(pool.take, None)]
    assert len(taken) == len(transfer.locked) == loaded
    player.connection.close()
    pool.replace(0, Pipe()[0])
    for batch in taken:
        assert len(transfer.locked) == loaded
        pool.release(batch)
    assert transfer.locked == []
