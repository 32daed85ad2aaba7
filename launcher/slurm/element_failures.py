"""Element failures: why elements of an ended Slurm array left rows undone.

Their attempts' own end comes first; then the accounting's word, the controller's where there is no accounting, and what is
written about them otherwise (elements.py). What a row of the accounting means is in accounting.py.
"""

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from jobs.errors import LauncherError
from jobs.kinds import FailureKind
from jobs.storage.attempts import Attempt, Attempts
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptStart
from jobs.storage.rundir import RunDir
from jobs.storage.spans import union
from jobs.storage.submission import Submission
from launcher.retry.finalize import Ending
from launcher.retry.policy import Allocation
from launcher.runs.failures import Failure
from launcher.runs.logs import last_words
from launcher.slurm import scheduler
from launcher.slurm.accounting import allocation, by_element, has_ended, judge, was_taken
from launcher.slurm.calls import NoAnswer
from launcher.slurm.elements import Element
from launcher.slurm.parsers import Accounted
from launcher.slurm.step_messages import StepMessages

# The controller tells the accounting with some delay how an element ended; more than seconds only on a busy cluster.
_ACCOUNTING_SECONDS = 60.0
_LONGEST_PAUSE = 20.0
# Which shards had rows there is told by who knows who had which rows.
_NO_SHARD = -1
# What Slurm says of elements that it has killed itself, since they were seen over their memory (OverMemoryKill).
_UNEXPLAINED = frozenset({"CANCELLED", "FAILED"})


@dataclass(frozen=True)
class _Known:
    """What Slurm knows of an array: rows by index, why the accounting has no say; whether others are forgotten for good."""

    rows: Mapping[int | None, Accounted]
    silence: str = ""
    is_forgotten: bool = False

    def tells_of(self, index: int) -> bool:
        """Whether there is no more to be known by waiting."""
        return has_ended(self.rows.get(index)) or (self.is_forgotten and index not in self.rows)


def find_failures(run: RunDir, plan: Plan, submission: Submission, time_limit: int | None = None) -> Ending:
    """Why elements of an ended submission left rows undone, as far as they do not tell, and what they had.

    ``time_limit``: seconds that were asked for.
    """
    # What an older version has done does not say by which submission.
    attempts = Attempts(run, None if submission.shards else submission.number).read()
    if not submission.work(plan.table) - union(attempt.beat.done for attempt in attempts):
        return Ending()
    elements = _elements(submission, attempts)
    silent = [element for element in elements if not element.tells]
    slurm = _ask(submission, [element.index for element in silent])
    messages = StepMessages.read(run.submission_log(submission.number))
    failures: dict[int, Failure] = {}
    for element in silent:
        row = slurm.rows.get(element.index)
        own = element.own_record(messages, submission.node.sync_interval, time_limit)
        if own and (row is None or not has_ended(row) or (own.state == "OUT_OF_MEMORY" and row.state in _UNEXPLAINED)):
            row = own
        failure = _judge(element, row, slurm, _last_words(run, submission, element))
        if failure:
            failures[element.index] = failure
    if submission.shards:
        failures = _of_older_version(failures)
    return Ending(failures, {element.index: _had(element, slurm.rows.get(element.index)) for element in elements})


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


def _had(element: Element, row: Accounted | None) -> Allocation:
    """What an element was given, by Slurm, else by its own record."""
    told = allocation(row) if row else Allocation()
    own = element.allocation
    return Allocation(told.node or own.node, told.memory or own.memory, told.time or own.time)


def _ask(submission: Submission, silent: Collection[int]) -> _Known:
    """What the accounting says, or the controller; waits until they know how ``silent`` ended."""
    if not submission.job_ids:
        return _Known({}, "it was never submitted")
    deadline = time.monotonic() + _ACCOUNTING_SECONDS
    pause = 0.5
    while True:
        known = _look_up(submission)
        if time.monotonic() > deadline or all(map(known.tells_of, silent)):
            return known
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _look_up(submission: Submission) -> _Known:
    job_ids, cluster = submission.job_ids, submission.cluster
    single_jobs = job_ids if submission.resources.single_jobs else ()
    try:
        return _Known(by_element(scheduler.accounting(job_ids, submission.created, cluster), single_jobs))
    except LauncherError as error:
        silence = f"Slurm's accounting cannot be asked ({error})"
        is_passing = isinstance(error, NoAnswer)
    try:
        rows = by_element(scheduler.jobs(job_ids, cluster), single_jobs)
    except NoAnswer:
        raise  # it will be back, and who ends the submission waits for it
    except LauncherError as error:
        return _Known({}, f"{silence}, nor its controller ({error})")
    # An accounting that is down for the moment may know more in a while.
    return _Known(rows, silence, is_forgotten=not is_passing)


def _judge(element: Element, row: Accounted | None, slurm: _Known, words: str) -> Failure | None:
    """None where the element only had to leave, so that its work goes on."""
    if element.stopped and not was_taken(row):
        return None
    if row is None and slurm.is_forgotten and not element.began:
        # It would be an unasked for second start of what somebody has ended with scancel.
        never = (
            "the array task never began, and Slurm has forgotten it: it was cancelled, or its node could not start it"
        )
        return Failure(FailureKind.CANCELLED, never, _NO_SHARD)
    if row is None and slurm.silence:
        return Failure(FailureKind.LOST, f"the array task left no end in its journal; {slurm.silence}", _NO_SHARD)
    failure = judge(row, _NO_SHARD, began=element.began, words=words)
    return None if failure.kind is FailureKind.TIMEOUT and element.progress else failure
