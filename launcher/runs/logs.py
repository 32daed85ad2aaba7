"""Logs: the text that array tasks wrote, one file a shard, all attempts."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from jobs.storage.journal import is_running, replay
from jobs.storage.plans import Submission
from jobs.storage.rundir import RunDir
from launcher.runs.submissions import in_hand, read_submissions

_TAIL = 4096
_PIECE = 1 << 16
_TICK = 0.25


def last_words(path: Path) -> str:
    """The last line of a log that says something; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def log_paths(run: RunDir, shard: int) -> list[Path]:
    """The logs that hold text of a shard: each attempt writes into the log of the first shard of its group.

    What kept a submission from making an attempt is in the submission's own log.
    """
    submissions = [Submission.read(run.submission(number)) for number in run.submission_numbers()]
    firsts = [group[0] for submission in submissions for group in submission.groups if shard in group]
    begun = {attempt.start.submission for attempt in replay(run.journal(shard)).attempts}
    others = [s.number for s in submissions if shard in s.shards and s.number not in begun]
    paths = dict.fromkeys([*map(run.log, firsts), *map(run.submission_log, others)])
    return [path for path in paths if path.exists()]


def read_log(run: RunDir, shard: int, *, follow: bool = False) -> Iterator[bytes]:
    """The shard's logs, in pieces; with ``follow`` also what is appended, until the shard is done or nobody runs it."""
    offsets: dict[Path, int] = {}
    while True:
        is_last = not (follow and _goes_on(run, shard))
        for path in log_paths(run, shard):
            with path.open("rb") as file:
                file.seek(offsets.get(path, 0))
                while piece := file.read(_PIECE):
                    yield piece
                offsets[path] = file.tell()
        if is_last:
            return
        time.sleep(_TICK)


def _goes_on(run: RunDir, shard: int) -> bool:
    is_over = run.shard_done(shard).exists() or shard not in in_hand(read_submissions(run))
    return not is_over or is_running(run.journal(shard))  # an attempt writes its last words after the shard is done
