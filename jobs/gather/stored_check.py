"""StoredCheck: whether all that a run's results need is there, told from the journals and the sizes of data files.

No byte of a block is read: that is for whoever reads the rows, or verify.
"""

from jobs.errors import DamageError, IncompleteError
from jobs.gather.manifest_check import check_manifest
from jobs.gather.shortfall import shortfall
from jobs.gather.survey import Surveyed, survey_results
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.upstreams import refuse_outdated


def check_stored(run: RunDir) -> tuple[str, ...]:
    """The seals of the results that could be gathered now.

    Raises IncompleteError where samples are missing, DamageError where a commit, a data file or its end is.
    """
    plan = Plan.read(run.plan)
    check_manifest(run, plan, whole=False)
    refuse_outdated(run, plan)
    surveyed = survey_results(run, plan)
    if problems := list(shortfall(run, plan, [one.survey for one in surveyed])):
        raise IncompleteError(f"{run.path}: {'; '.join(problems)}")
    for one in surveyed:
        _check(run, one)
    return tuple(one.seal(plan) for one in surveyed)


def _check(run: RunDir, one: Surveyed) -> None:
    remedy = f"`launcher verify {run.argument}` says which shards are to be done again"
    if lost := one.survey.lost:
        raise DamageError(f"{run.path}: {lost[0]}: not on disk as it was written; {remedy}")
    ends: dict[tuple[int, int], int] = {}
    for source, commit in one.committed.batches():
        for block in commit.blocks:
            place = source.rank, block.file
            ends[place] = max(ends.get(place, 0), block.offset + block.size)
    for (rank, number), end in ends.items():
        path = one.committed.sources[rank].head.files.get(number)
        size = path.stat().st_size if path and path.exists() else 0
        if size < end:
            raise DamageError(f"{path or run.attempts}: has {size:,} bytes of {end:,} that were committed; {remedy}")
