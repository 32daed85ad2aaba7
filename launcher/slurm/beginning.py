"""Beginning: when the array of a run may start that takes its samples while their run goes on: not before that one does."""

from jobs.storage.attempts import Attempts
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from jobs.storage.upstreams import Upstream
from launcher.runs.submissions import read_submissions


def beginning(run: RunDir, submission: Submission) -> str | None:
    """The dependency on the first array task of the other run, where that still waits for a node; else None.

    Slurm may have forgotten the job of a task that has begun.
    """
    upstream = Upstream.of(Plan.read(run.plan))
    if not (upstream and upstream.overlaps) or submission.resources.begins_at_once:
        return None
    before = [known.submission for known in read_submissions(upstream.directory) if known.is_open]
    waiting = [one for one in before if one.executor == submission.executor and one.job_ids]
    if not waiting or any(Attempts(upstream.directory, one.number).read() for one in before):
        return None
    first = waiting[0]
    is_here = first.cluster == submission.cluster
    return f"after:{first.job_ids[0]}{'' if first.resources.single_jobs else '_0'}" if is_here else None
