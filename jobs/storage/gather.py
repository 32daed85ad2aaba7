"""Gather: all shards' committed rows -> result.h5. Used by the command line and by the finalize job.

One pass over the data in constant memory: read a block, check its xxh3 against the journal, write it where it belongs
in the result. Shards are never opened with HDF5: the journal's layout says where their rows are.
"""

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.errors import DamageError, IncompleteError, RunError
from jobs.job import has_reduce, make_job
from jobs.storage.block_copier import BlockCopier
from jobs.storage.committed import Committed, Damage
from jobs.storage.plans import Plan, Submission
from jobs.storage.ranges import format_ranges
from jobs.storage.reduction import summarize
from jobs.storage.result_file import ResultFile, complete, create, replacing_result
from jobs.storage.result_rows import StateWriter, put_ids
from jobs.storage.rundir import RunDir
from jobs.storage.survey import Survey

# Bytes read and written at once: few system calls, and still in the processor's cache from read to write.
BLOCK = 1 << 20

_LISTED = 10

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class GatherReport:
    """What became of a gather. ``bytes`` is the size of the result; ``damaged`` are rows left out as missing."""

    path: Path
    complete: bool
    rows: int
    ok: int
    failed: int
    missing: int
    bytes: int
    damaged: tuple[Damage, ...]
    seconds: float


def gather(
    run: RunDir, *, allow_missing: bool = False, output: Path | None = None, progress: Progress | None = None
) -> GatherReport:
    """Makes the result at ``output`` (default: the run's result.h5), whole or not at all.

    ``progress`` is called with the rows done and all rows. With ``allow_missing``, samples without an intact result
    are left out and the result is marked as not complete; otherwise raises IncompleteError where a shard is not done,
    and DamageError where bytes differ from what was committed. Raises OutputError where shards do not fit together,
    BusyError where another process makes the same result, RunError where it cannot be written or the Job's reduce
    raises, InputError where the Job cannot be imported here.
    """
    started = time.monotonic()
    plan = Plan.read(run.plan)
    path = output or run.result
    committed = Committed(run, plan)
    survey = Survey.take(run, plan, committed)
    if survey.not_done and not allow_missing:
        raise IncompleteError(_incomplete(run, plan, survey))
    job = make_job(plan.job)
    damaged = list(survey.lost)
    try:
        with replacing_result(path) as (temporary, descriptor):
            while True:
                places = create(temporary, survey.contents, _provenance(run, plan, survey))
                _check_space(temporary)
                result = ResultFile(descriptor, places)
                found = _fill(run, plan, committed, survey, result, progress)
                damaged += found
                if damaged and not allow_missing:
                    raise DamageError(_damage(run, damaged))
                if not found:
                    break
                # Values lie end to end, so leaving rows out moves all that follow.
                committed.exclude(found)
                survey = Survey.take(run, plan, committed)
            summary = summarize(job, plan, result, survey.outputs) if has_reduce(job) else {}
            complete(temporary, summary, whole=survey.whole)
    except OSError as error:
        raise RunError(f"{path}: gather stopped: {error}") from error
    seconds = time.monotonic() - started
    counts = (survey.rows, survey.ok, survey.failed, survey.missing)
    return GatherReport(path, survey.whole, *counts, path.stat().st_size, tuple(damaged), seconds)


def _fill(
    run: RunDir,
    plan: Plan,
    committed: Committed,
    survey: Survey,
    result: ResultFile,
    progress: Progress | None,
) -> list[Damage]:
    """Writes all datasets; returns what differs from the journals."""
    put_ids(result.put, run.manifest, plan)
    states, copier = StateWriter(result.put), BlockCopier(result, survey.outputs)
    damaged: list[Damage] = []
    for shard in committed.shards():
        states.add(shard)
        with shard.open(run) as file:
            for span in shard.spans(BLOCK):
                damaged += copier.copy(shard.shard, file, span)
                if progress:
                    progress(span.stop, plan.rows)
    return damaged


def _check_space(temporary: Path) -> None:
    """Says at once that the data will not fit; the file so far is one large hole."""
    needed = temporary.stat().st_size
    system = os.statvfs(temporary.parent)
    free = system.f_bavail * system.f_frsize
    if free < needed:
        raise RunError(
            f"{temporary.parent}: the result needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: "
            "make room, or set output.path to another file system"
        )


def _provenance(run: RunDir, plan: Plan, survey: Survey) -> dict[str, Any]:
    """Where a result comes from: the plan, its submissions, the software, this machine."""
    submissions = (Submission.read(run.submission(number)) for number in run.submission_numbers())
    known = {key: value for key, value in asdict(plan).items() if key != "boundaries"}
    return known | {
        "shards": plan.shard_count,
        "submissions": [_submission(submission) for submission in submissions],
        "versions": {name: sorted(versions) for name, versions in sorted(survey.versions.items())},
        "gathered": time.time(),
        "host": socket.gethostname(),
    }


def _submission(submission: Submission) -> dict[str, Any]:
    known = {key: value for key, value in asdict(submission).items() if key != "groups"}
    return known | {"shards": len(submission.shards)}


def _incomplete(run: RunDir, plan: Plan, survey: Survey) -> str:
    return (
        f"{run.path}: {len(survey.not_done)} of {plan.shard_count} shards are not done ({format_ranges(survey.not_done)}); "
        f"{survey.missing} of {survey.rows} samples have no result yet. `launcher rerun {run.path}` runs what is "
        f"missing; `launcher gather {run.path} --allow-missing` makes a result without it"
    )


def _damage(run: RunDir, damaged: Sequence[Damage]) -> str:
    shards = format_ranges(sorted({damage.shard for damage in damaged}))
    lines = [f"  {damage}" for damage in damaged[:_LISTED]]
    if len(damaged) > _LISTED:
        lines.append(f"  and {len(damaged) - _LISTED} more")
    return "\n".join(
        [
            f"{run.path}: {len(damaged)} batches are not on disk as they were written, in shards {shards}:",
            *lines,
            f"`launcher rerun {run.path} --shards {shards}` computes them again; "
            f"`launcher gather {run.path} --allow-missing` leaves them out",
        ]
    )
