"""Live: what schedulers still have of a run's submissions, asked for with ``--live``."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from jobs.storage.rundir import RunDir
from launcher.runs.going_on import open_by_executor
from launcher.runs.submissions import Outcome, SubmissionState


def observe(
    run: RunDir, known: Sequence[SubmissionState]
) -> tuple[list[SubmissionState], Mapping[tuple[str, str], int]]:
    """Submissions go on if their scheduler has something of them, whatever they left behind; each is asked once."""
    active: set[int] = set()
    gone: set[int] = set()
    entries: Counter[tuple[str, str]] = Counter()
    for executor, submissions in open_by_executor(known):
        if executor.is_polled:
            seen = executor.observe(run, submissions)
            active |= seen.active
            gone |= {submission.number for submission in submissions} - seen.active
            entries.update(seen.entries)
    now = [replace(k, is_open=True) if k.number in active else k for k in known]
    return [_ended(k) if k.number in gone else k for k in now], entries


def _ended(known: SubmissionState) -> SubmissionState:
    """What a person submitted with sbatch has no finalize job that would write an outcome."""
    outcome = Outcome(time.time()) if known.is_by_hand else None
    return replace(known, is_open=False, outcome=outcome)
