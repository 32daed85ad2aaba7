"""Progress: a Status as text."""

from collections.abc import Iterator, Sequence
from typing import assert_never

from jobs.kinds import FailureKind, RunState, ShardState
from launcher.executors import choose_executor
from launcher.runs.failures import FailureGroup
from launcher.runs.find import reference
from launcher.runs.logs import last_words
from launcher.status.chain import link_lines, waiting_lines
from launcher.status.complete import CompleteRun
from launcher.status.sample_counts import SampleCounts
from launcher.status.shard_list import ShardRow, shard_lines
from launcher.status.status import SHARD_STATES, Status
from launcher.units import clock_time, counted, rough_time
from launcher.visible import on_one_line, short_line

_MAX_GROUPS = 10
_MAX_SILENT = 5
_COLUMNS = 80


def summary_line(status: Status | CompleteRun) -> str:
    """A run in one line."""
    return ", ".join(_summary(status))


def brief_line(status: Status | CompleteRun) -> str:
    """How far a run is, beside its state, in a line that is shorter still."""
    parts = [*_samples(status, status), *filter(None, [status.beyond_samples])]
    if shards := status.count(ShardState.FAILED):
        parts.append(f"{counted(shards, 'shard')} failed")
    return ", ".join([*parts, *_pace(status), *_awaited(status)])


def _awaited(status: Status | CompleteRun) -> list[str]:
    """For which run one waits that is not at work; one that has failed waits for a person."""
    if isinstance(status, CompleteRun) or status.state in (RunState.RUNNING, RunState.COMPLETE, RunState.FAILED):
        return []
    link = status.chain.blocking if status.chain.waiting else None
    return [f"waits for {on_one_line(reference(link.run))}"] if link else []


def _pace(status: Status | CompleteRun) -> list[str]:
    """How fast it goes, and for how long still."""
    is_going = status.state is RunState.RUNNING and status.rate and not status.beyond_samples
    rate = [f"{status.rate:,.1f} samples/s", *status.counted.words] if is_going else []
    return [*rate, *([f"{clock_time(status.eta)} left"] if status.eta else [])]


def _summary(status: Status | CompleteRun) -> list[str]:
    first, *failed = _samples(status, status)
    parts = [f"{status.state}: {first}"]
    if status.failed and status.state is RunState.COMPLETE:
        parts = [f"{status.state}, {status.failed:,} of {status.total:,} samples failed"]
    if status.manifests:
        parts[0] += f" of {len(status.manifests)} manifests"
    parts += failed
    if doing := status.beyond_samples:
        parts.append(doing)
    counts = [f"{count} {state}" for state in SHARD_STATES if (count := status.count(state))]
    parts.append(f"shards {', '.join(counts) or 'none'}")
    return [*parts, *_pace(status)]


def _wrapped(parts: Sequence[str]) -> Iterator[str]:
    """Joined with commas, on a second line where one would be longer than a terminal."""
    line = ""
    for part in parts:
        if line and len(line) + len(part) + 3 > _COLUMNS:
            yield f"{line},"
            line = "  "
        line += part if not line.strip() else f", {part}"
    yield line


def _samples(counts: Status | CompleteRun | SampleCounts, status: Status | CompleteRun) -> list[str]:
    """How many are done; of a run that is over, how they ended: that all were tried must not read as if all went well."""
    failed, total = counts.failed, counts.total
    tried = counts.ok + failed
    if failed and status.state not in (RunState.PLANNED, RunState.RUNNING):
        missing = f", {total - tried:,} missing" if tried < total else ""
        return [f"{counts.ok:,} ok, {failed:,} failed{missing} of {total:,} samples"]
    share = 100 * tried // total if total else 100
    return [f"{tried:,} of {total:,} samples ({share}%)", *([f"{failed:,} failed"] if failed else [])]


def status_lines(
    status: Status, shards: Sequence[ShardRow] | None = None, *, none: str = "", width: int | None = None
) -> list[str]:
    """The text of `launcher status`: how the run stands, and what to do next; ``width`` is that of a terminal."""
    lines, name = state_lines(status, shards, none=none, width=width), reference(status.run)
    which = [f"failed samples: launcher errors {name}"] if status.failed else []
    if status.state is RunState.COMPLETE:
        return [*lines, *_result_lines(status), *which]
    return [*lines, f"next: launcher {_step(status)}", *which]


def _step(status: Status) -> str:
    """The command that goes on with a run, or with the one that it waits for."""
    name, barrier = reference(status.run), status.chain.barrier
    if status.chain.goes_on and (barrier or status.state is not RunState.FAILED):
        return f"status {name} --watch"
    if barrier and status.state is not RunState.RUNNING:
        return _step(barrier.status) if barrier.status else f"plan ITS-CONFIG (of {reference(barrier.run)})"
    match status.state:
        case _ if status.finalizer and status.finalizer.is_nobody:
            return f"run {name}"
        case RunState.RUNNING:
            return f"status {name} --watch"
        case _ if status.chain.outdated:
            return f"rerun {name}" if status.chain.redoes_some else f"rerun {name} --fresh"
        case _ if status.is_cleaned:
            return "run CONFIG --fresh (it was cleaned, so its result is all that it had: is there a copy of it?)"
        case _ if status.count(ShardState.DONE) == len(status.shards):
            return f"gather {name}"
        case RunState.PLANNED | RunState.COMPLETE:
            return f"submit {name}"
        case RunState.INCOMPLETE | RunState.FAILED | RunState.CANCELLED:
            return f"rerun {name}{_changes(status)}"
        case _:
            assert_never(status.state)


def _result_lines(status: Status) -> list[str]:
    if not status.in_place:
        alone = " (the run was cleaned: all else that it had stored is gone)" if status.is_cleaned else ""
        return [f"result: {path}{alone}" for path in status.results]
    how = f"launcher export {reference(status.run)} FOLDER --format parquet"
    return [f"result: in place ({status.run.attempts}), for launcher.results; in other formats: {how}"]


def _changes(status: Status) -> str:
    """What a rerun needs to end otherwise: without that it would do the same again."""
    own = [group for group in status.groups if not group.samples]
    kinds = {group.kind for group in own}
    over = {FailureKind.TOO_MANY_FAILED_SAMPLES}
    if kinds <= over and status.shards.closed.count == status.total and not status.most_fail:
        allow = f"--set node.max_failed_samples={status.shards.sufficient_budget}"
        return f", once the cause of the failed samples is mended; or, to allow them: {allow}"
    if FailureKind.ERROR in kinds and kinds <= {FailureKind.ERROR, *over}:
        shard = next(group.shards.first for group in own if group.kind is FailureKind.ERROR)
        return f", once its cause is mended: launcher logs {reference(status.run)} {shard}"
    if kinds == over:
        return ", once the cause of the failed samples is mended"
    if kinds == {FailureKind.DISK}:
        return ", once there is room"
    lack = {FailureKind.OUT_OF_MEMORY, FailureKind.TIMEOUT}
    return ", with more memory or time, as said above" if kinds and kinds <= lack else ""


def state_lines(
    status: Status, shards: Sequence[ShardRow] | None = None, *, none: str = "", width: int | None = None
) -> list[str]:
    """How the run stands, without what to do next; with ``shards`` if any are to be shown, ``none`` where there are none."""
    first, *parts = _summary(status)
    versions = ", ".join(map(on_one_line, status.other_versions))
    return [
        *link_lines(status.chain, summary_line),
        *_wrapped([f"{reference(status.run)}  {first}", *parts]),
        *(f"  {on_one_line(one.name)}: {', '.join(_samples(one, status))}" for one in status.manifests),
        *_failure_lines(status),
        *_efficiency_lines(status),
        *_queue_lines(status),
        *_silent_lines(status),
        *_laggard_lines(status),
        *([f"  computed with {versions}"] if versions else []),
        *([] if shards is None else shard_lines(shards, width) if shards else [f"  {none}"]),
        *_end_lines(status),
        *waiting_lines(status),
    ]


def _failure_lines(status: Status) -> Iterator[str]:
    """What failed, by cause, each with what to do."""
    for group in status.groups[:_MAX_GROUPS]:
        yield f"  {group_words(group)}: {short_line(group.message)}"
        yield f"    {status.advice(group)}"
    if len(status.groups) > _MAX_GROUPS:
        yield f"  and {len(status.groups) - _MAX_GROUPS} other causes; see --json"


def _efficiency_lines(status: Status) -> Iterator[str]:
    """What to ask for next time; while it runs there is nothing to conclude."""
    if status.efficiency and status.state is not RunState.RUNNING:
        has_limits = bool(status.known_executor and status.known_executor.has_limits)
        advice = status.efficiency.advice(has_limits=has_limits, is_complete=status.state is RunState.COMPLETE)
        yield from (f"  next time: {line}" for line in advice)


def _queue_lines(status: Status) -> Iterator[str]:
    """What a scheduler still has of it, where that was asked."""
    if not status.queue or status.executor is None:
        return
    executor = choose_executor(status.executor)
    for (state, reason), entries in status.queue.items():
        why = "" if reason in ("", "None") else f" ({reason})"
        yield f"  {executor.title}'s queue: {entries} {state}{why}"
        if to_do := executor.queue_advice(reason):
            yield f"    {to_do.format(run=reference(status.run))}"


def _end_lines(status: Status) -> Iterator[str]:
    """How submissions ended, who ends those that go on, and who was told."""
    if status.state is not RunState.COMPLETE:
        for number, error in status.errors:
            yield f"  the end of submission {number} failed: {short_line(error)}"
        yield from (f"  submission {number}: {short_line(note)}" for number, note in status.notes)
    if status.finalizer and (known := status.known_executor):
        is_due = bool(status.shards.attempts) and not status.shards.live and status.queue is None
        yield f"  finalized by: {status.finalizer.words(known.title, reference(status.run), is_due=is_due)}"
    if status.notice and (problem := status.notice.problem):
        yield f"  notify: {short_line(problem)}"
    for path in status.stale:
        yield f"  {on_one_line(str(path))}: another run's result, or from before the last rows were done"
    # A full disk keeps the executor from saying how the submission ended, too, and is told above.
    if status.is_abandoned and all(group.kind is not FailureKind.DISK for group in status.groups):
        number = status.submissions[-1].number
        words = last_words(status.run.submission_log(number))
        ends = f"; its log ends: {short_line(words)}" if words else ""
        yield f"  submission {number} ended without a word (a reboot, kill -9){ends}"


def _silent_lines(status: Status) -> Iterator[str]:
    """Attempts that do not write; where all else is done, with the jobs that a person may end."""
    if not status.silent:
        return
    names, more = on_one_line(", ".join(status.silent[:_MAX_SILENT])), len(status.silent) - _MAX_SILENT
    what = "what they have, others take over" if status.missing else "the end of the run waits for these alone"
    yield f"  silent for long: {names}{f' and {more} more' if more > 0 else ''}; {what}"
    starts = (attempt.start for attempt in status.shards.attempts if attempt.name in status.silent)
    jobs = sorted({start.job_id for start in starts if start and start.job_id})
    if jobs and not status.missing:
        yield f"    their jobs can be ended: {on_one_line(' '.join(jobs[:_MAX_SILENT]))}"


def _laggard_lines(status: Status) -> Iterator[str]:
    """Array tasks that finish nothing, and slow nodes, while there is something to be done about them."""
    if status.state is not RunState.RUNNING:
        return
    found, name = status.laggards, reference(status.run)
    for one in found.stalled[:_MAX_SILENT]:
        yield (
            f"  stalled: {on_one_line(f'{one.attempt} on {one.node}')} has finished nothing for {rough_time(one.seconds)}, "
            f"and a batch takes {rough_time(one.batch)}; retry.stall ends such tasks"
        )
    if len(found.stalled) > _MAX_SILENT:
        yield f"  and {len(found.stalled) - _MAX_SILENT} more are stalled; see --json"
    for slow in found.slow_nodes[:_MAX_SILENT]:
        yield (
            f"  slow: a process on {on_one_line(slow.node)} does {slow.rate:,.1f} samples/s, elsewhere {slow.others:,.1f}; "
            "others take over what it leaves"
        )
    executor = status.known_executor
    if found.nodes and executor and (flags := executor.without_nodes(found.nodes[:_MAX_SILENT])):
        yield f"    to go on without: launcher cancel {name}, launcher rerun {name} {flags}"


def group_words(group: FailureGroup) -> str:
    """The kind, how much it struck, and some names: ``LOAD, 3 samples (a7, b1, c4) in 2 shards``."""
    where = counted(group.shards.count, "shard")
    if not group.samples:
        which = f"shard {group.shards}" if group.shards.count == 1 else f"{where} ({group.shards.brief()})"
        return f"{group.kind}, {which}"
    more = ", ..." if group.samples > len(group.examples) else ""
    names = [f"id {name}" if name.isdigit() else short_line(name) for name in group.examples]
    listed = f" ({', '.join(names)}{more})" if names else ""
    return f"{group.kind}, {counted(group.samples, 'sample')}{listed} in {where}"
