"""The lines of a log: each begins with when it was begun, and by whom, however it was written."""

import io
import re

from hypothesis import given
from hypothesis import strategies as st

from jobs.node.log import StampedStream
from jobs.storage.stamps import STAMP, speaker

_LINE_ENDS = re.compile(r"(?<=[\n\r])")


@given(st.lists(st.text("ab\n\r")))
def test_every_line_has_a_stamp_however_it_was_written(texts: list[str]) -> None:
    written = io.BytesIO()
    stream = StampedStream(written, encoding="utf-8", newline="")
    assert [stream.write(text) for text in texts] == [len(text) for text in texts]
    stream.flush()
    lines = _LINE_ENDS.split(written.getvalue().decode())
    unstamped = [STAMP.sub(b"", line.encode(), count=1).decode() for line in lines]
    assert "".join(unstamped) == "".join(texts)
    assert all(STAMP.match(line.encode()) for line in lines if line.strip())


def test_a_stamp_names_the_process_and_its_pool_worker() -> None:
    assert (speaker(3, None), speaker(3, 0)) == ("p3", "p3.w0")
