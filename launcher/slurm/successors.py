"""Successors: ends submissions whose Slurm jobs have ended, and submits what follows: retries, and what was held back.

In the finalize job, and where there is none in `launcher run` on the login node.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from jobs.errors import InputError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.config.settings import retry_settings
from launcher.retry.finalize import finalize
from launcher.runs.submissions import Outcome, SubmissionState, read_submissions, withdraw
from launcher.slurm import sbatch, scheduler
from launcher.slurm.element_failures import find_failures
from launcher.slurm.followers import Unfollowed, leave_to_launcher
from launcher.slurm.handover import hand_over
from launcher.slurm.records import NAME, follower_of, submission_config
from launcher.slurm.terms import SbatchTerms


def end_submissions(run: RunDir, numbers: Sequence[int]) -> None:
    """Ends those of these submissions that nobody has ended; what failed in them and is worth it is written as submissions."""
    plan = Plan.read(run.plan)
    to_end = [k.submission for k in read_submissions(run) if k.number in numbers and k.outcome is None]
    for submission in to_end:
        asked, is_last = SbatchTerms(submission_config(run, submission), submission), submission is to_end[-1]
        ending = find_failures(run, plan, submission, asked.terms.time)
        if Outcome.read(run, submission.number):
            continue  # it was cancelled while Slurm was asked
        finalize(run, plan, submission, ending, asked, retry_settings(submission.resources), gathers=is_last)


def submit_waiting(run: RunDir, waiting: Sequence[Submission]) -> list[Submission]:
    """Hands over what waits; what Slurm refuses ends alone, and why is told by the outcome of what it continues.

    Raises LimitReached where Slurm takes nothing now.
    """

    def refused(submission: Submission, refusal: InputError) -> None:
        if not submission.resources.attended and (isinstance(refusal, sbatch.MayNotSubmit) or not scheduler.is_here()):
            leave_to_launcher(run, [submission])
            why = "this node may not submit"
        else:
            withdraw(run, submission.number)
            why = "another attempt is refused"
        tell(run, submission.resources.continues, f"{why}: {refusal}")

    if not waiting:
        return []
    try:
        return hand_over(run, waiting, refused)
    except Unfollowed as problem:
        for number in sorted({one.resources.continues or one.number for one in problem.submissions}):
            tell(run, number, str(problem))
        return list(problem.submissions)


def tell(run: RunDir, number: int | None, problem: str) -> None:
    """Adds what went wrong after a submission's end to its outcome, if it has one."""
    print(problem, flush=True)
    outcome = Outcome.read(run, number) if number else None
    if number and outcome:
        error = "\n".join(filter(None, [outcome.error, problem]))
        replace(outcome, error=error).write(run, number)


def waiting_for(run: RunDir, number: int) -> list[Submission]:
    """What the finalize job of that number submits: held back, or another attempt."""
    own = [one.submission for one in read_submissions(run) if _is_open(one)]
    return [s for s in own if not s.process and not s.resources.attended and follower_of(s) == number]


def left_to_launcher(run: RunDir) -> list[Submission]:
    """What `launcher run` submits: attempts that follow, and what one that was killed has not submitted."""
    own = [one for one in read_submissions(run) if _is_open(one) and not (one.submission.process and one.is_open)]
    attended = [one.submission for one in own if one.submission.resources.attended]
    return [submission for submission in attended if not submission.is_submitted]


def _is_open(known: SubmissionState) -> bool:
    is_ours = known.submission.executor == NAME and not known.is_copied
    return is_ours and known.outcome is None and not known.submission.planned


def give_up(run: RunDir, numbers: Sequence[int], why: str) -> None:
    """Records that nothing follows: attempts that Slurm never got are withdrawn, and their shards stay as they ended."""
    for submission in waiting_for(run, numbers[0]):
        if not submission.job_ids:
            run.script(submission.number).unlink(missing_ok=True)
            withdraw(run, submission.number)
    for number in numbers:
        outcome = Outcome.read(run, number) or Outcome(time.time())
        replace(outcome, error=why).write(run, number)
