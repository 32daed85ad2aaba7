"""Submissions of a run: the record of each, how it ended, and which rows are in the hands of one that goes on.

submissions/NNNN.json is written before anything starts; submissions/NNNN.outcome when all of it has ended.
"""

import dataclasses
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import ConflictError, RunError
from jobs.kinds import FailureKind, known
from jobs.storage import checked_json
from jobs.storage.attempts import attempt_names
from jobs.storage.files import exists, fsync_folder, intact, is_there, publish, temporary_name, write_bytes
from jobs.storage.old_run import import_run
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans
from jobs.storage.submission import PLAIN, ResultForm, Submission
from launcher.runs.attendant import find_attendant
from launcher.runs.cleaned import refuse_cleaned
from launcher.runs.failures import Failure
from launcher.runs.find import reference
from launcher.runs.signs import lives


@dataclass(frozen=True)
class Outcome:
    """How a submission ended. ``failures`` are those that no journal tells, by shard; ``error``: why gather failed.

    ``failed_samples``: how many samples of the run failed, where all of it was done then; ``seals``: of the results that
    it wrote (storage/seals.py). ``notes``: what attempts that follow did not ask for, and why. ``orphaned``: its array tasks
    were stopped because the launcher died that it was to end with.
    """

    ended: float
    cancelled: bool = False
    failures: dict[int, Failure] = field(default_factory=dict)
    error: str | None = None
    failed_samples: int | None = None
    seals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    orphaned: bool = False

    @property
    def was_stopped(self) -> bool:
        """Whether array tasks that left no word were killed on purpose."""
        return self.cancelled or self.orphaned

    def write(self, run: RunDir, number: int) -> None:
        """Ends the submission: after that no array task of it takes work any more."""
        # First the outcome: without it and without claims, nobody would know whether the submission goes on.
        write_bytes(run.outcome(number), checked_json.encode(dataclasses.asdict(self)))
        _remove_claims(run, number)

    @classmethod
    def read(cls, run: RunDir, number: int) -> "Outcome | None":
        """None while the submission goes on, and where its executor was killed. Raises RunError where it is damaged."""
        path = run.outcome(number)
        try:
            remedy = f"what is computed is not in it. Remove it, then: launcher cancel {run.argument}"
            return intact(path, cls._from, remedy)
        except FileNotFoundError:
            return None

    @classmethod
    def _from(cls, path: Path) -> "Outcome":
        data = checked_json.decode(path.read_bytes())
        failures = {
            int(shard): Failure(**{**failure, "kind": known(FailureKind, failure["kind"])})
            for shard, failure in data["failures"].items()
        }
        told = data.get("failed_samples"), tuple(data.get("seals", ())), tuple(data.get("notes", ()))
        orphaned = data.get("orphaned", False)
        return cls(data["ended"], data["cancelled"], failures, data["error"], *told, orphaned)


def _remove_claims(run: RunDir, number: int) -> None:
    # By another name first: who makes a claim at this moment finds no folder, instead of one that is never empty.
    # The name is a new one: what NFS keeps of a removed file that somebody has open keeps a folder from being removed, too.
    claims = run.claims(number)
    leaving = temporary_name(claims)
    with suppress(FileNotFoundError):
        claims.rename(leaving)
    for left in run.submissions.glob(f".{claims.name}*"):  # also by one who was killed here
        shutil.rmtree(left, ignore_errors=True)


@dataclass(frozen=True)
class SubmissionState:
    """A submission with what is known of its end; ``is_open`` while it may still run shards, retry or gather.

    ``is_copied``: it came with a copy of the run's folder, and whatever works on it does so in the other one.
    """

    submission: Submission
    outcome: Outcome | None
    is_open: bool
    is_copied: bool = False

    @property
    def number(self) -> int:
        return self.submission.number

    @property
    def is_by_hand(self) -> bool:
        """Whether it was planned for a person to submit; only the scheduler knows if that was done, and nobody ends it."""
        return self.submission.planned and self.outcome is None and not self.is_copied

    @property
    def may_go_on(self) -> bool:
        """Whether something of it may be waiting or running, as far as can be told without the scheduler."""
        return self.is_open or self.is_by_hand


def read_submissions(run: RunDir) -> list[SubmissionState]:
    """All submissions of a run, in order; asks no scheduler. Raises RunError where one is damaged, or their folder is gone."""
    if not (is_there(run.submissions) and run.submissions.is_dir()):
        raise RunError(
            f"{run.submissions}: this folder is gone, which says who computes what: bring back a copy of it; "
            f"or, if nothing of the run goes on, mkdir {run.submissions}: what is computed stays"
        )
    found = []
    for number in run.submission_numbers():
        try:
            submission = Submission.read(run.submission(number))
            outcome = Outcome.read(run, number)
            is_copied = outcome is None and _is_of_another_folder(run, submission)
            is_open = outcome is None and not is_copied and may_run(run, submission)
            found.append(SubmissionState(submission, outcome, is_open, is_copied))
        except FileNotFoundError:  # withdrawn since the listing: nobody got it
            continue
    return found


def _is_of_another_folder(run: RunDir, submission: Submission) -> bool:
    """Whether the run that it was made in is there, and this is a copy of it. By another path it is the same one."""
    try:
        return bool(submission.folder) and not os.path.samefile(submission.folder, run.path)
    except OSError:  # this is the one, in a new place; or that one is not to be seen from here
        return False


def may_run(run: RunDir, submission: Submission) -> bool:
    """Whether a submission without outcome may go on, as far as this machine can tell without asking a scheduler.

    Its process is the local executor's, or the launcher's for as long as that is handing it over to a scheduler, or at its
    end, and before it is submitted, a scheduler's finalize job.
    """
    if submission.planned:
        return False
    process, touched = submission.process, None
    # Else it is a launcher that ends it now, whatever a finalize job has left behind.
    if not submission.resources.attended:
        with suppress(FileNotFoundError, ValueError):  # both of them or none: it may go at any moment
            ending = run.ending(_ended_by(submission))
            process, touched = checked_json.decode(ending.read_bytes()), ending.stat().st_mtime
    if process is None:
        # What no scheduler has, and none is to submit, waits for a launcher that may not come.
        return not submission.is_left_to_launcher or find_attendant(run) is not None
    if touched is None:
        touched = run.submission(submission.number).stat().st_mtime
    return lives(process, touched, run.path)


def _ended_by(submission: Submission) -> int:
    """The submission whose finalize job ends this one, or is still to submit it."""
    follower = submission.resources.follower
    return submission.number if submission.job_ids or follower is None else follower


def chosen_output(submissions: Sequence[SubmissionState]) -> Path | None:
    """Where the newest submission wants the result; None: in the run directory."""
    chosen = submissions[-1].submission.resources.output if submissions else None
    return Path(chosen) if chosen else None


def chosen_form(submissions: Sequence[SubmissionState]) -> ResultForm:
    """In which form the newest submission wants the result."""
    return submissions[-1].submission.resources.form if submissions else PLAIN


def newest_by_row(submissions: Iterable[SubmissionState], table: ShardTable) -> list[tuple[SubmissionState, Spans]]:
    """Each submission with the rows of which it is the last; the newest one comes first, those without any are left out."""
    found, seen = [], Spans()
    for one in sorted(submissions, key=lambda one: -one.number):
        work = one.submission.work(table)
        if own := work - seen:
            found.append((one, own))
            seen |= work
    return found


def in_hand(submissions: Iterable[SubmissionState], table: ShardTable) -> list[tuple[int, Spans]]:
    """(number, rows) of each submission that goes on."""
    return [(one.number, one.submission.work(table)) for one in submissions if one.is_open]


def create(run: RunDir, submission: Submission) -> Submission:
    """Writes a new submission under the next free number, whole and never over another; returns it with its number.

    Raises ConflictError where another one got hold of one of its rows at the same moment.
    """
    import_run(run)  # from now on the run is this version's
    run.make()  # what somebody removed of its folders
    fingerprint = Plan.read(run.plan).fingerprint
    folder = str(run.path.absolute())
    numbered = dataclasses.replace(submission, number=_free_number(run), plan=fingerprint, folder=folder)
    path = run.submission(numbered.number)
    temporary = temporary_name(path)
    numbered.write(temporary)
    try:
        # Before the submission can be seen: an array task without claims folder takes it that all has ended.
        run.claims(numbered.number).mkdir(exist_ok=True)
        is_ours = publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if not is_ours:
        return create(run, submission)
    # On disk before anything is started: after a crash there may be a record of nothing, but no tasks without a record.
    fsync_folder(run.submissions)
    # Only now, when others can see it: two that looked before they wrote could both find the rows free.
    _withdraw_if_taken(run, numbered)
    if exists(run.cleaned):
        withdraw(run, numbered.number)
        refuse_cleaned(run)
    return numbered


def _free_number(run: RunDir) -> int:
    """One that no submission has, nor any attempt of one whose file is gone: what that did would pass for the new one's."""
    attempted = (int(name.partition("-")[0]) for name in attempt_names(run.attempts))
    return max([*run.taken_numbers(), *attempted], default=0) + 1


def _withdraw_if_taken(run: RunDir, submission: Submission) -> None:
    """Of two that take the same rows at once the lower number wins: it was there when the other one looked."""
    continued = submission.resources.continues
    others = [k for k in read_submissions(run) if k.number < submission.number and k.number != continued]
    if not any(other.is_open for other in others):
        return
    table = Plan.read(run.plan).table
    mine = submission.work(table)
    taken = next((number for number, rows in in_hand(others, table) if rows & mine), None)
    if taken is not None:
        withdraw(run, submission.number)
        raise ConflictError(
            f"{run.path}: submission {taken} is running these shards now; see `launcher status {reference(run)}`"
        )


def withdraw(run: RunDir, number: int) -> None:
    """Removes a submission that nobody has started, with its scripts; another may get its number."""
    _remove_claims(run, number)
    # The record last: with it the number becomes free, and what stands under it may be another's at once.
    for path in (run.script(number), run.finalize_script(number), run.notice(number), run.submission(number)):
        path.unlink(missing_ok=True)


def discard(run: RunDir, number: int) -> None:
    """Removes a submission that was planned, unless another launcher is at that, or has one of its own by that number now.

    Only one of several can take its claims folder away, and who finds something else by then gives that back.
    """
    claims = run.claims(number)
    aside = temporary_name(claims)
    try:
        claims.rename(aside)
    except FileNotFoundError:
        return
    try:
        is_planned = Submission.read(run.submission(number)).planned
    except FileNotFoundError:  # it is about to be written
        is_planned = False
    if is_planned:
        withdraw(run, number)
    else:
        aside.rename(claims)


def update(run: RunDir, submission: Submission, **changes: Any) -> Submission:
    """Writes the submission anew with some fields changed (its ids, once they are known)."""
    # By rename: readers see it with its ids or without. Only the process that owns the submission may write it.
    changed = dataclasses.replace(submission, **changes)
    changed.write(run.submission(changed.number))
    return changed
