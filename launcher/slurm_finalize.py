"""The finalize job: ``python -m launcher.slurm_finalize RUN NUMBER...`` runs on a node when these submissions' arrays ended.

It learns from journals, and where they are silent from one sacct call, why shards are not done, has launcher.finalize decide
what is tried again or gathered, and submits that together with what was held back. Nothing stays on the login node.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.errors import LauncherError, RunError
from jobs.node.slurm_job import requeue_self
from jobs.storage.journal import replay
from jobs.storage.plans import Plan, Submission
from jobs.storage.rundir import RunDir
from launcher import slurm
from launcher.evidence import by_element, judge
from launcher.failures import Failure
from launcher.finalize import Ending, finalize
from launcher.logs import last_words
from launcher.remedies import Need, remedy
from launcher.slurm_executor import SlurmExecutor, submission_config
from launcher.slurm_scripts import asked_options, submission_log
from launcher.submissions import read_submissions


def finalize_submissions(run: RunDir, numbers: Sequence[int]) -> list[Submission]:
    """Ends the submissions and starts what follows; returns the submissions started."""
    plan = Plan.read(run.plan)
    ended = [Submission.read(run.submission(number)) for number in numbers]
    open_numbers = {known.number for known in read_submissions(run) if known.outcome is None}
    for submission in ended:
        if submission.number in open_numbers:
            ending, needs = investigate(run, submission)
            finalize(run, plan, submission, ending, Treat(run, submission, needs))
    waiting = [known.submission for known in read_submissions(run) if is_held(known.submission) and not known.outcome]
    return SlurmExecutor().start(run, waiting, attached=False) if waiting else []


def is_held(submission: Submission) -> bool:
    """Whether a submission is for Slurm and waits to be submitted by a finalize job."""
    return submission.executor == "slurm" and not submission.job_ids and not submission.planned


class Treat:
    """What shards of a submission get at the next attempt: see launcher.remedies."""

    def __init__(self, run: RunDir, submission: Submission, needs: Mapping[int, Need]) -> None:
        config = submission_config(run, submission)
        self._retry = config.retry
        self._options = asked_options(config, submission.resources)
        self._changed = submission.resources.get("options", {})
        self._needs = needs

    def __call__(self, kind: str, shards: Sequence[int]) -> dict[str, Any] | None:
        """None where nothing more can be given."""
        needs = [self._needs.get(shard, Need(shard)) for shard in shards]
        options = remedy(self._retry, self._options, kind, needs)
        if options is None:
            return None
        changed = {name: value for name, value in options.items() if self._options.get(name) != value}
        return {"options": {**self._changed, **changed}}


def investigate(run: RunDir, submission: Submission) -> tuple[Ending, dict[int, Need]]:
    """Why shards of an ended submission are not done, as far as their journals do not tell, and what they had."""
    elements = {
        shard: index
        for index, group in enumerate(submission.groups)
        for shard in group
        if not run.shard_done(shard).exists()
    }
    if not elements:
        return Ending(), {}
    rows, silence = _account(submission)
    failures: dict[int, Failure] = {}
    needs: dict[int, Need] = {}
    for shard, index in elements.items():
        row = rows.get((submission.job_ids[0], index)) if submission.job_ids else None
        failure = _judge(run, submission, shard, row, silence)
        if failure:
            failures[shard] = failure
        if row:
            needs[shard] = Need(shard, row.node, row.asked_memory, row.asked_time)
    return Ending(failures), needs


def _account(submission: Submission) -> tuple[dict[tuple[str, int | None], slurm.Accounted], str]:
    """Rows of sacct by element, and what to say where it has no answer."""
    try:
        return dict(by_element(slurm.accounting(submission.job_ids, submission.created))), ""
    except LauncherError as error:
        return {}, f"Slurm's accounting cannot be asked ({error})"


def _judge(
    run: RunDir, submission: Submission, shard: int, row: slurm.Accounted | None, silence: str
) -> Failure | None:
    """None where the journal tells, or where the shard only has to go on."""
    history = replay(run.journal(shard))
    last = history.last if history.last and history.last.start.submission == submission.number else None
    if last and last.end and last.end.reason == "failed":
        return None
    progress = last is not None and any(commit.stop for commit in history.commits.values())
    if last and last.end and (row is None or row.state not in ("CANCELLED", "NODE_FAIL", "PREEMPTED")):
        return None  # it left in order, as told: the next attempt goes on
    words = last_words(submission_log(run, submission.number))
    if row is None and silence:
        return Failure("LOST", f"the array task left no end in its journal; {silence}", shard)
    failure = judge(row, shard, began=last is not None, words=words)
    return None if failure.kind == "TIMEOUT" and progress else failure


def main(arguments: Sequence[str]) -> int:
    """The finalize job's process; exit code 0: ended or goes on in other jobs."""
    parser = argparse.ArgumentParser(prog="python -m launcher.slurm_finalize", description="Ends Slurm submissions.")
    parser.add_argument("run", type=Path)
    parser.add_argument("numbers", type=int, nargs="+")
    options = parser.parse_args(arguments)
    run = RunDir(options.run)
    try:
        started = finalize_submissions(run, options.numbers)
    except slurm.LimitReached as error:
        print(f"{error}; trying again later", flush=True)
        return 0 if requeue_self() else 1
    except (LauncherError, RunError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    for submission in started:
        print(f"submission {submission.number}: Slurm job {', '.join(submission.job_ids) or 'held back'}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
