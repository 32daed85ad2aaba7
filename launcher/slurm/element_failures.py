"""Element failures: why elements of an ended Slurm array left rows undone: their attempts' word, else the accounting's.

What a row of the accounting means is in accounting.py.
"""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from jobs.errors import LauncherError
from jobs.kinds import EndReason, FailureKind
from jobs.storage.attempts import Attempt, Attempts
from jobs.storage.plans import Plan, Submission
from jobs.storage.records import AttemptStart
from jobs.storage.rundir import RunDir
from jobs.storage.spans import union
from launcher.retry.finalize import Ending
from launcher.runs.failures import Failure
from launcher.runs.logs import last_words
from launcher.slurm import scheduler
from launcher.slurm.accounting import allocation, by_element, has_ended, judge, was_taken
from launcher.slurm.calls import NoAnswer
from launcher.slurm.parsers import Accounted

# The controller tells the accounting with some delay how an element ended; more than seconds only on a busy cluster.
_ACCOUNTING_SECONDS = 60.0
_LONGEST_PAUSE = 20.0
# Which shards had rows there is told by who knows who had which rows.
_NO_SHARD = -1


@dataclass(frozen=True)
class Element:
    """An array element, by the last attempt of each of its nodes.

    ``began``: it made one at all; ``stopped``: it had to leave, and did; ``tells``: each says why it ended, and that was
    its own doing; ``progress``: one of its attempts made something durable.
    """

    index: int
    began: bool = False
    stopped: bool = False
    tells: bool = False
    progress: bool = False

    @classmethod
    def of(cls, index: int, attempts: Collection[tuple[AttemptStart, Attempt]], nodes: int) -> Self:
        """``attempts`` are all those of the element: it was started anew after each requeue."""
        newest: dict[int, Attempt] = {}
        for start, attempt in sorted(attempts, key=lambda pair: (pair[0].restart, pair[0].time)):
            newest[start.worker] = attempt
        ends = [attempt.beat.end for attempt in newest.values()]
        return cls(
            index,
            began=bool(attempts),
            stopped=EndReason.STOPPED in ends,
            tells=len(ends) >= nodes and all(end and end is not EndReason.STOPPED for end in ends),
            progress=any(attempt.beat.done for _, attempt in attempts),
        )


def find_failures(run: RunDir, plan: Plan, submission: Submission) -> Ending:
    """Why elements of an ended submission left rows undone, as far as they do not tell, and what they had."""
    # What an older version has done does not say by which submission.
    attempts = Attempts(run, None if submission.shards else submission.number).read()
    if not submission.work(plan.table) - union(attempt.beat.done for attempt in attempts):
        return Ending()
    elements = _elements(submission, attempts)
    silent = [element for element in elements if not element.tells]
    rows, silence = _account(submission, [element.index for element in silent])
    failures: dict[int, Failure] = {}
    for element in silent:
        words = _last_words(run, submission, element)
        failure = _judge(element, rows.get(element.index), silence, words)
        if failure:
            failures[element.index] = failure
    if submission.shards:
        failures = _of_older_version(failures)
    had = {element.index: allocation(rows[element.index]) for element in elements if element.index in rows}
    return Ending(failures, had)


def _elements(submission: Submission, attempts: Iterable[Attempt]) -> list[Element]:
    made: dict[int, list[tuple[AttemptStart, Attempt]]] = {}
    for attempt in attempts:
        if attempt.start and attempt.submission == submission.number:
            made.setdefault(attempt.start.index, []).append((attempt.start, attempt))
    if submission.shards:
        return [Element(index, began=True) for index in range(submission.tasks)]
    nodes = submission.resources.nodes_per_task or 1
    return [Element.of(index, made.get(index, ()), nodes) for index in range(submission.tasks)]


def _of_older_version(failures: Mapping[int, Failure]) -> dict[int, Failure]:
    """Which of its elements had which rows is not told any more: one that was ended stands for all."""
    ended = (failure for failure in failures.values() if failure.kind is not FailureKind.LOST)
    one = next(ended, next(iter(failures.values()), None))
    return {0: one} if one else {}


def _last_words(run: RunDir, submission: Submission, element: Element) -> str:
    """The last line that it left: in its own log, or before it had one in that of all elements."""
    nodes = submission.resources.nodes_per_task or 1
    own = [run.log(submission.number, element.index * nodes + rank) for rank in range(nodes)]
    return last_words(next((log for log in own if log.exists()), run.submission_log(submission.number)))


def _account(submission: Submission, silent: Collection[int]) -> tuple[Mapping[int | None, Accounted], str]:
    """Rows of sacct by array index, and what to say where it has no answer; waits until it knows how ``silent`` ended.

    Without accounting they are the controller's own.
    """
    if not submission.job_ids:
        return {}, "it was never submitted"
    single_jobs = submission.job_ids if submission.resources.single_jobs else ()
    deadline = time.monotonic() + _ACCOUNTING_SECONDS
    pause = 0.5
    while True:
        rows, silence = {}, ""
        try:
            rows = by_element(scheduler.accounting(submission.job_ids, submission.created), single_jobs)
        except LauncherError as error:
            silence = f"Slurm's accounting cannot be asked ({error})"
            if not isinstance(error, NoAnswer):
                return by_element(scheduler.jobs(submission.job_ids), single_jobs), silence
        if time.monotonic() > deadline or (not silence and all(has_ended(rows.get(index)) for index in silent)):
            return rows, silence
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _judge(element: Element, row: Accounted | None, silence: str, words: str) -> Failure | None:
    """None where the element only had to leave, so that its work goes on."""
    if element.stopped and not was_taken(row):
        return None
    if row is None and silence:
        return Failure(FailureKind.LOST, f"the array task left no end in its journal; {silence}", _NO_SHARD)
    failure = judge(row, _NO_SHARD, began=element.began, words=words)
    return None if failure.kind is FailureKind.TIMEOUT and element.progress else failure
