"""A channel: nobody waits to send, whatever the other end does; what was sent comes in order, descriptors too."""

import os
import selectors
import socket
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.node.channel import Channel
from jobs.node.descriptors import receive_descriptor


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Connection]]:
    mine, theirs = Pipe()
    channel = Channel(mine)
    yield channel, theirs
    channel.close()
    theirs.close()


def read(channel: Channel, theirs: Connection) -> object:
    """A message, as far as it needs the channel's help."""
    with selectors.DefaultSelector() as selector:
        while not theirs.poll():
            selector.register(channel, channel.events)
            channel.flush()
            selector.unregister(channel)
        return theirs.recv()


def test_small_messages_are_sent_at_once(ends: tuple[Channel, Connection]) -> None:
    channel, theirs = ends
    channel.send("hello")
    assert not channel.is_crowded
    assert channel.events == selectors.EVENT_READ
    assert theirs.recv() == "hello"
    theirs.send("you")
    assert channel.poll()
    assert channel.recv() == "you"


def test_thousands_of_messages_wait_for_one_who_does_not_read(ends: tuple[Channel, Connection]) -> None:
    channel, theirs = ends
    for number in range(10_000):
        channel.send(number)
    assert channel.events == selectors.EVENT_READ | selectors.EVENT_WRITE
    assert [read(channel, theirs) for _ in range(10_000)] == list(range(10_000))
    assert not channel.is_crowded


def test_two_ends_that_send_more_than_their_pipe_takes_do_not_wait_for_each_other(
    ends: tuple[Channel, Connection],
) -> None:
    channel, theirs = ends
    large = os.urandom(3_000_000)
    other = Channel(theirs)
    channel.send(large)
    other.send(large)
    for sender, receiver in ((channel, other), (other, channel)):
        # As a reader does it, who reads a message to its end: by small parts, between which the sender goes on.
        parts = bytearray()
        while len(parts) < len(large):
            sender.flush()
            parts += os.read(receiver.fileno(), 1 << 16)
        assert large in parts


@given(sizes=st.lists(st.integers(0, 400_000), max_size=6), at=st.integers(0, 5))
def test_a_descriptor_follows_its_message_in_order(sizes: list[int], at: int) -> None:
    mine, theirs = Pipe()
    channel = Channel(mine)
    reader, writer = os.pipe()
    for number, size in enumerate(sizes):
        channel.send(bytes(size), writer if number == at else None)
    os.close(writer)
    pid = os.fork()
    if pid == 0:
        while channel.is_crowded:
            channel.flush()
        os._exit(0)
    channel.close()
    for number, size in enumerate(sizes):
        assert theirs.recv() == bytes(size)
        if number == at:
            found = receive_descriptor(theirs)
            os.write(found, b"x")
            os.close(found)
            assert os.read(reader, 9) == b"x"
    os.waitpid(pid, 0)
    os.close(reader)
    theirs.close()


def test_one_who_is_gone_is_told_and_what_was_for_him_is_dropped(ends: tuple[Channel, Connection]) -> None:
    channel, theirs = ends
    reader, writer = os.pipe()
    channel.send(bytes(1_000_000), writer)
    os.close(writer)
    theirs.close()
    with pytest.raises(ConnectionError):
        channel.flush()
    assert not channel.is_crowded
    assert os.read(reader, 1) == b""  # the copy of the descriptor is closed
    os.close(reader)


def test_a_time_out_that_a_job_gives_all_new_sockets_is_none_of_the_pipes(ends: tuple[Channel, Connection]) -> None:
    channel, theirs = ends
    socket.setdefaulttimeout(0.001)
    try:
        channel.send("x", 0)
        assert theirs.recv() == "x"
        os.close(receive_descriptor(theirs))
    finally:
        socket.setdefaulttimeout(None)
    assert os.get_blocking(theirs.fileno())
    assert os.get_blocking(channel.fileno())
