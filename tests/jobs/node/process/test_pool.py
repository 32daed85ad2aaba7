"""Pool: how many pieces a worker has in hand, and where they go when it dies. The test plays the worker."""

import mmap
import os
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


def new_pool(memory: int, transfer: Transfer | None = None) -> tuple[Pool, Connection]:
    pool = Pool(lambda broken: pytest.fail(broken.message), transfer or Stay(), memory)
    ours, workers = Pipe()
    assert pool.replace(0, ours) == []
    return pool, workers


def load(pool: Pool, worker: Connection, writer: SlotWriter, piece: Piece, size: int) -> None:
    batch = writer.put(piece.slot, np.full(size, piece.start, np.uint8))
    worker.send(Loaded(piece, range(piece.start, piece.stop), batch, ()))
    while piece in pool._workers[0].in_hand.values():
        assert pool.receive(0)


@pytest.mark.parametrize(
    ("size", "memory", "slots"),
    [(1000, 1 << 30, 4), (5 * MB, 1 << 30, 3), (10 * MB, 1 << 30, 2), (5 * MB, 50 * MB, 2), (5 * MB, MB, 1)],
)
def test_a_worker_has_more_pieces_in_hand_where_they_are_small_and_fewer_where_memory_is(
    size: int, memory: int, slots: int
) -> None:
    pool, worker = new_pool(memory)
    writer = SlotWriter(worker, os.getpid())
    pool.submit(pieces(20))
    in_hand = list(arrived(worker))
    assert len(in_hand) == 2
    seen = []
    while in_hand:
        piece = in_hand.pop(0)
        load(pool, worker, writer, piece, size)
        fetch = pool.take()
        assert fetch
        loaded, arriving = fetch()
        assert (arriving() == piece.start).all()
        pool.release(loaded)
        in_hand += arrived(worker)
        seen.append(len(in_hand))
        assert len({piece.slot for piece in in_hand}) == len(in_hand)
    assert len(seen) == 20
    assert seen[2] == max(seen[2:]) == slots


def test_what_a_dead_worker_had_in_hand_is_returned() -> None:
    pool, worker = new_pool(1 << 30)
    pool.submit(pieces(5))
    had = list(arrived(worker))
    worker.close()
    assert not pool.receive(0)
    ours, successor = Pipe()
    assert pool.replace(0, ours) == had
    pool.submit(had, first=True)
    assert [piece.start for piece in arrived(successor)] == [0, 1]


@pytest.mark.parametrize("loaded", [0, 1, 2])
def test_slots_of_a_dead_worker_are_unlocked_when_the_last_of_its_batches_was_used(loaded: int) -> None:
    transfer = Locks()
    pool, worker = new_pool(1 << 30, transfer)
    writer = SlotWriter(worker, os.getpid())
    pool.submit(pieces(2))
    for piece in list(arrived(worker))[:loaded]:
        load(pool, worker, writer, piece, 100)
    taken = [fetch()[0] for fetch in iter(pool.take, None)]
    assert len(taken) == len(transfer.locked) == loaded
    worker.close()
    pool.replace(0, Pipe()[0])
    for batch in taken:
        assert len(transfer.locked) == loaded
        pool.release(batch)
    assert transfer.locked == []
