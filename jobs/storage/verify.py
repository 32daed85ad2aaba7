"""Verify: every row of the shards and of the result, hashed again and compared with the journals and the manifest.

Used by the command line. Not covered: /summary, which only the Job could compute again, and what HDF5 itself keeps in
the files (a result of which that is damaged does not open, or lacks a dataset).
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import DamageError
from jobs.storage.committed import Committed, Damage, ShardRows
from jobs.storage.gather import Progress
from jobs.storage.plans import Plan
from jobs.storage.result_check import ResultCheck
from jobs.storage.result_file import ResultFile
from jobs.storage.result_rows import put_ids
from jobs.storage.rundir import RunDir
from jobs.storage.survey import Survey


@dataclass(frozen=True)
class VerifyReport:
    """What was looked at, and what is damaged.

    ``batches`` counts the commits of all shards, ``bad_lines`` the journals' lines that do not match their checksum (a
    crash leaves one; rows that only they told of are done again, or listed in ``damaged`` where the shard is done).
    ``result`` is None where there is none yet; ``result_problems`` says in words what differs in it.
    """

    shards: int
    batches: int
    bad_lines: int
    damaged: tuple[Damage, ...]
    result: Path | None
    result_problems: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        return not self.damaged and not self.result_problems


def verify(run: RunDir, *, output: Path | None = None, progress: Progress | None = None) -> VerifyReport:
    """Checks all shards, done or not, and the result at ``output`` (default: the run's result.h5) if there is one.

    ``progress`` is called with the rows done and all rows, which count twice where there is a result. Raises
    OutputError where shards do not fit together.
    """
    started = time.monotonic()
    plan = Plan.read(run.plan)
    committed = Committed(run, plan)
    survey = Survey.take(run, plan, committed)
    path = output or run.result
    result = path if path.exists() else None
    total = plan.rows * (2 if result else 1)

    def advance(done: int) -> None:
        if progress:
            progress(done, total)

    damaged, batches = list(survey.lost), 0
    for shard in committed.shards():
        damaged += damaged_batches(run, shard)
        batches += len(shard.commits)
        advance(shard.shard.stop)
    problems = check_result(run, plan, survey, committed, result, advance) if result else ()
    seconds = time.monotonic() - started
    return VerifyReport(plan.shard_count, batches, survey.bad_lines, tuple(damaged), result, problems, seconds)


def damaged_batches(run: RunDir, shard: ShardRows) -> list[Damage]:
    """The committed batches of a shard whose bytes are not as the journal says."""
    found: list[Damage] = []
    with shard.open(run) as file:
        for commit in (commit for commit in shard.commits if commit.hashes):
            what = file.damaged(commit) if file else ["shard file"]
            if what:
                found.append(Damage(shard.shard.index, commit.start, commit.stop, tuple(what)))
    return found


def check_result(
    run: RunDir, plan: Plan, survey: Survey, committed: Committed, path: Path, advance: Callable[[int], None]
) -> tuple[str, ...]:
    """What in a result differs from the journals and the manifest, in words."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        check = ResultCheck(ResultFile.find(path, descriptor), survey.contents)
        if check.problems:
            return tuple(check.problems)
        put_ids(check.compare, run.manifest, plan)
        for shard in committed.shards():
            check.add(shard)
            advance(plan.rows + shard.shard.stop)
        return tuple(check.problems)
    except DamageError as error:
        return (str(error),)
    finally:
        os.close(descriptor)
