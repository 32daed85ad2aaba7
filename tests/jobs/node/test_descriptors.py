"""Open files that go through a pipe: whatever else is in it, and whether the other end reads or not."""

import os
from multiprocessing import Pipe

import pytest

from jobs.node.descriptors import receive_descriptor, send_descriptor


def test_nobody_waits_for_an_answer_nor_takes_what_the_other_end_says_for_one() -> None:
    mine, theirs = Pipe()
    reader, writer = os.pipe()
    theirs.send("said meanwhile")
    send_descriptor(mine, writer)
    mine.send("and what comes after it")
    os.close(writer)
    assert mine.recv() == "said meanwhile"
    with open(receive_descriptor(theirs), "w") as file:
        assert not os.get_inheritable(file.fileno())
        file.write("through the copy")
    assert theirs.recv() == "and what comes after it"
    assert not mine.poll()
    with open(reader) as file:
        assert file.read() == "through the copy"
    mine.close()
    theirs.close()


def test_one_who_is_gone_is_told_at_either_end() -> None:
    mine, theirs = Pipe()
    mine.close()
    with pytest.raises(EOFError):
        receive_descriptor(theirs)
    with pytest.raises(ConnectionError):
        send_descriptor(theirs, 0)
    theirs.close()
