"""Attend: `launcher run` in the place of a finalize job: it looks after what Slurm runs until the result is there.

The run's own files tell nearly all, so the scheduler is seldom asked: not while tasks are seen to work, and ever more seldom
while nothing changes. It may be killed at any moment, and goes on when it is started again.
"""

import time
from collections.abc import Callable
from dataclasses import replace

from jobs.errors import RunError
from jobs.kinds import RunState
from jobs.machine import streams
from jobs.storage.rundir import RunDir
from launcher.executors import EXECUTORS, choose_executor
from launcher.interrupts import Interrupts
from launcher.notify.announcement import announce
from launcher.runs.attendant import Attendant
from launcher.runs.find import reference
from launcher.runs.going_on import going_on
from launcher.runs.submissions import SubmissionState, read_submissions, update
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from launcher.status.views import View
from launcher.submit.downstream import start_waiting

_LOOK_SECONDS = 0.5
# Looking takes at most this share of the time, however large the run is.
_LOOK_SHARE = 0.1
# Between two questions to the scheduler, seconds: while tasks are seen to work; and where none is, first and at most.
_WORKING_SECONDS = 300.0
_SHORTEST, _LONGEST = 10.0, 300.0


def is_attended(run: RunDir) -> bool:
    """Whether there is something for an attendant to do. What has lost its finalize job becomes that, too."""
    submissions = read_submissions(run)
    if any(_is_attended(known) for known in submissions):
        return True
    lost = _without_end(run, submissions)
    for known in lost:
        update(run, known.submission, process=None, resources=replace(known.submission.resources, attended=True))
    return bool(lost)


def _is_open(known: SubmissionState) -> bool:
    return known.outcome is None and not known.submission.planned and not known.is_copied


def _is_attended(known: SubmissionState) -> bool:
    return _is_open(known) and known.submission.resources.attended


def _without_end(run: RunDir, submissions: list[SubmissionState]) -> list[SubmissionState]:
    """What was in the scheduler's hands, of which it has nothing any more, and which nobody has ended."""
    open_ones = [known for known in submissions if _is_open(known) and known.submission.job_ids]
    active = going_on(run, open_ones) if open_ones else set()
    return [known for known in open_ones if known.number not in active]


def attend(run: RunDir, view: View, say: Callable[[str], None], *, once: bool = False) -> Status:
    """Ends submissions, tries again and gathers, until nothing of the run goes on; ``once``: what is due now.

    Raises AttendedElsewhere where another launcher does that; KeyboardInterrupt at Ctrl-C, SIGTERM or SIGHUP, after it has
    said how to go on. The array tasks go on.
    """
    reader, rounds = StatusReader(run), Rounds(run, say)
    with Interrupts():
        try:
            with Attendant(run) as attendant, view:
                while True:
                    started = time.monotonic()
                    attendant.check()
                    status = reader.read()
                    with streams.kept_clear():  # what finalize says, and a Job that folds its results
                        if rounds.look(status, now=once):
                            announce(run)
                            status = reader.read()
                        if status.state is not RunState.RUNNING:
                            announce(run)  # once: also where what ended it raised, or withdrew what Slurm refused
                            start_waiting(run)
                    view.show(status)
                    if once or status.state is not RunState.RUNNING:
                        return status
                    time.sleep(max(_LOOK_SECONDS, (time.monotonic() - started) / _LOOK_SHARE))
        except KeyboardInterrupt:
            say(how_to_go_on(run))
            raise


def how_to_go_on(run: RunDir) -> str:
    """What to type when the attendant leaves."""
    name = reference(run)
    return f"its array tasks go on; to go on with the run: launcher run {name}; to stop it: launcher cancel {name}"


class Rounds:
    """When the scheduler is asked, and what is ended without that."""

    def __init__(self, run: RunDir, say: Callable[[str], None]) -> None:
        self._run = run
        self._say = say
        self._table = StatusReader(run).plan.table
        self._asked = time.monotonic()
        self._pause = _SHORTEST
        self._seen: object = None

    def look(self, status: Status, *, now: bool) -> bool:
        """Does what is due, or with ``now`` all that can be; returns whether something ended or was started."""
        own = [known.submission for known in status.submissions if _is_attended(known)]
        asks = bool(own) and (now or self._is_due(status))
        done = {s.number for s in own if not s.work(self._table) - status.shards.closed_by(s.number)}
        names = {s.executor for s in own} & EXECUTORS.keys() if asks or done else set()
        has_changed = False
        try:
            for name in names:
                has_changed |= choose_executor(name).end_attended(self._run, done, ask=asks)
        except RunError as error:  # it does not answer
            self._say(f"{error}; asking again later")
        if asks:
            self._asked = time.monotonic()
            self._pause = _SHORTEST if has_changed else min(2 * self._pause, _LONGEST)
        return has_changed

    def _is_due(self, status: Status) -> bool:
        working = status.shards.live - set(status.silent)
        seen = (status.shards.closed.count, len(status.shards.attempts), working)
        if seen != self._seen:
            self._seen, self._pause = seen, _SHORTEST
        pause = _WORKING_SECONDS if working else self._pause
        return time.monotonic() - self._asked > pause
