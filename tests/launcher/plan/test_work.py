"""What array tasks are given to do of samples that come from a run that goes on."""

from pathlib import Path

import pytest

from jobs.storage.plans import Plan
from jobs.storage.spans import Spans
from jobs.storage.submission import Submission
from launcher.plan.work import with_work
from tests.support.overlaps import build_downstream, build_upstream, do, upstream_of


@pytest.mark.parametrize(("there", "ranges"), [("", 16), ("0-31", 16), ("32-63", 2), ("0-63", 2)])
def test_rows_are_cut_finer_where_some_are_to_come(tmp_path: Path, there: str, ranges: int) -> None:
    """Of the second half, in batches of two: what is there begins at once, and each range costs a little."""
    first = build_upstream(tmp_path)
    second = build_downstream(tmp_path, upstream_of(first), batch_size=2)
    do(first, there)
    submission, rows = Submission.read(second.submission(1)), Spans([(32, 64)])
    made = with_work(second, Plan.read(second.plan), submission, rows, 2)
    assert (made.tasks, len(made.ranges)) == (2, ranges)
