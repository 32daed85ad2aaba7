"""Element failures: why the elements of an ended Slurm array left shards undone: the journals' word, else the accounting's.

What a row of the accounting means is in accounting.py.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from jobs.errors import LauncherError
from jobs.kinds import EndReason, FailureKind
from jobs.storage.journal import Attempt, replay
from jobs.storage.plans import Submission
from jobs.storage.rundir import RunDir
from launcher.retry.finalize import Ending
from launcher.retry.policy import Allocation
from launcher.runs.failures import Failure
from launcher.runs.logs import last_words
from launcher.slurm import scheduler
from launcher.slurm.accounting import allocation, by_element, has_ended, judge, was_taken
from launcher.slurm.calls import NoAnswer
from launcher.slurm.parsers import Accounted

# The controller tells the accounting with some delay how an element ended; more than seconds only on a busy cluster.
_ACCOUNTING_SECONDS = 60.0
_LONGEST_PAUSE = 5.0


@dataclass(frozen=True)
class Element:
    """An array element: its undone shards with the attempt that this submission last made at each (None: none).

    ``began``: it made one at any of its shards; ``stopped``: it had to leave, and did; ``progress``: it committed.
    """

    attempts: Mapping[int, Attempt | None]
    began: bool
    stopped: bool
    progress: bool

    @classmethod
    def read(cls, run: RunDir, submission: Submission, group: tuple[int, ...]) -> "Element":
        """The element that runs the shards of ``group``, from their journals."""
        histories = {shard: replay(run.journal(shard)) for shard in group}
        made = {
            shard: history.last
            for shard, history in histories.items()
            if history.last and history.last.start.submission == submission.number
        }
        ends = [attempt.end for attempt in made.values() if attempt.end]
        return cls(
            attempts={shard: made.get(shard) for shard in group if not run.shard_done(shard).exists()},
            began=bool(made),
            stopped=any(end.reason is EndReason.STOPPED for end in ends),
            progress=any(histories[shard].committed for shard in made),
        )

    @property
    def is_silent(self) -> bool:
        """Whether the journals do not tell of each shard why it is undone."""
        return not all(map(_tells_why, self.attempts.values()))


def find_failures(run: RunDir, submission: Submission) -> Ending:
    """Why shards of an ended submission are not done, as far as their journals do not tell, and what they had."""
    elements = {index: Element.read(run, submission, group) for index, group in enumerate(submission.groups)}
    undone = {index: element for index, element in elements.items() if element.attempts}
    if not undone:
        return Ending()
    silent = [index for index, element in undone.items() if element.is_silent]
    rows, silence = _account(submission, silent)
    failures: dict[int, Failure] = {}
    allocations: dict[int, Allocation] = {}
    for index, element in undone.items():
        row = rows.get(index)
        # The last line that it left: in its own log, or before it had one in that of all elements.
        own = run.log(submission.groups[index][0])
        has_own = element.began or (own.exists() and own.stat().st_mtime >= submission.created)
        words = last_words(own if has_own else run.submission_log(submission.number))
        for shard in element.attempts:
            failure = _judge(element, shard, row, silence, words)
            if failure:
                failures[shard] = failure
            if row:
                allocations[shard] = allocation(row)
    return Ending(failures, allocations)


def _tells_why(attempt: Attempt | None) -> bool:
    return attempt is not None and attempt.end is not None and attempt.end.reason is EndReason.FAILED


def _account(submission: Submission, silent: Collection[int]) -> tuple[dict[int | None, Accounted], str]:
    """Rows of sacct by array index, and what to say where it has no answer; waits until it knows how ``silent`` ended."""
    if not submission.job_ids:
        return {}, "it was never submitted"
    deadline = time.monotonic() + _ACCOUNTING_SECONDS
    pause = 0.5
    while True:
        rows, silence = {}, ""
        try:
            rows = by_element(scheduler.accounting(submission.job_ids, submission.created))
        except LauncherError as error:
            silence = f"Slurm's accounting cannot be asked ({error})"
            if not isinstance(error, NoAnswer):
                return rows, silence
        if time.monotonic() > deadline or (not silence and all(has_ended(rows.get(index)) for index in silent)):
            return rows, silence
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _judge(element: Element, shard: int, row: Accounted | None, silence: str, words: str) -> Failure | None:
    """None where the journal tells, or where the shard only has to go on."""
    if _tells_why(element.attempts[shard]) or (element.stopped and not was_taken(row)):
        return None
    if row is None and silence:
        return Failure(FailureKind.LOST, f"the array task left no end in its journal; {silence}", shard)
    failure = judge(row, shard, began=element.began, words=words)
    return None if failure.kind is FailureKind.TIMEOUT and element.progress else failure
