"""Submit: which shards go into a new submission, with which settings, and starting it."""

import os
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.errors import RunError
from jobs.gather.committed import ShardRows
from jobs.gather.verify import damaged_batches
from jobs.kinds import ShardState
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.files import fsync_folder
from jobs.storage.journal import replay
from jobs.storage.plans import Plan, Submission
from jobs.storage.ranges import format_ranges
from jobs.storage.rundir import RunDir
from launcher.config.config import Config, config_from_mapping
from launcher.config.origins import apply_overrides
from launcher.config.settings import node_settings
from launcher.executors import Executor, choose_executor
from launcher.plan.guard import config_path, deciding_differences, refuse_changes
from launcher.plan.param_files import changed_files
from launcher.plan.sharding import interleave
from launcher.runs.shard_states import ShardReader
from launcher.runs.submissions import (
    Outcome,
    SubmissionState,
    chosen_output,
    create,
    in_hand,
    newest_by_shard,
    read_submissions,
)


@dataclass(frozen=True)
class Selection:
    """Shards for a new submission; ``reopened`` of them are done but damaged or with failed samples.

    ``running`` are left out because another submission has them (shard -> its number); ``kept`` because they are done.
    ``abandoned`` are numbers of submissions that nothing works on any more and that nobody has ended.
    """

    shards: tuple[int, ...]
    reopened: tuple[int, ...] = ()
    running: Mapping[int, int] | None = None
    kept: tuple[int, ...] = ()
    abandoned: tuple[int, ...] = ()


def select_shards(run: RunDir, plan: Plan, asked: Sequence[int] | None = None) -> Selection:
    """What is not done and in nobody's hands; of ``asked`` also done shards that are damaged or have failed samples."""
    submissions = read_submissions(run)
    active = _active(run, submissions)
    over = [known.number for known in submissions if known.outcome is None and known.number not in active]
    seen = [replace(k, is_open=False, outcome=Outcome(time.time())) if k.number in over else k for k in submissions]
    states = ShardReader(run, plan).read(newest_by_shard(seen))
    taken = in_hand(active.values()) | {s.shard.index: 0 for s in states if s.state is ShardState.RUNNING}
    wanted = range(plan.shard_count) if asked is None else asked
    done = {state.shard.index for state in states if state.state is ShardState.DONE}
    free = [shard for shard in wanted if shard not in taken]
    reopened = [shard for shard in free if shard in done and asked is not None and _needs_work(run, plan, shard)]
    shards = sorted({shard for shard in free if shard not in done} | set(reopened))
    running = {shard: taken[shard] for shard in wanted if shard in taken and (asked is not None or shard not in done)}
    kept = tuple(shard for shard in free if shard in done and shard not in reopened)
    abandoned = tuple(known.number for known in submissions if known.number in over and not known.submission.planned)
    return Selection(tuple(shards), tuple(reopened), running, kept, abandoned)


def _active(run: RunDir, submissions: Sequence[SubmissionState]) -> dict[int, SubmissionState]:
    """Those that really go on, by number, also planned ones that were sbatched by hand; each executor is asked once."""
    asked = [known for known in submissions if known.outcome is None]
    active: set[int] = set()
    for name in {known.submission.executor for known in asked}:
        own = [known.submission for known in asked if known.submission.executor == name]
        active |= choose_executor(name).recover(run, own)
    return {known.number: replace(known, is_open=True) for known in asked if known.number in active}


def _needs_work(run: RunDir, plan: Plan, shard: int) -> bool:
    """Whether a done shard has failed samples, or bytes that differ from what was committed."""
    history = replay(run.journal(shard))
    rows = ShardRows.of(plan.shard(shard), True, history)
    return history.failed > 0 or any(rows.gaps()) or bool(damaged_batches(run, rows))


def current_config(run: RunDir, plan: Plan, overrides: Sequence[str] = ()) -> Config:
    """The config of the newest submission, or of the plan, with ``--set`` overrides.

    Raises InputError where these would change the result of what is done already.
    """
    submissions = read_submissions(run)
    mapping = (submissions[-1].submission.resources.config if submissions else None) or plan.config
    changed, _ = apply_overrides(mapping, overrides)
    config = config_from_mapping(changed, config_path(plan))
    refuse_changes(run, deciding_differences(mapping, config.to_mapping()) or changed_files(plan))
    return config


def submit(
    run: RunDir,
    config: Config,
    selection: Selection,
    *,
    attached: bool = False,
    retry_failed: bool = False,
) -> list[Submission]:
    """Records submissions of the selected shards and starts them. Raises RunError where nothing is left to submit."""
    if not selection.shards:
        raise RunError(nothing_to_do(run, selection))
    executor = choose_executor(config.executor)
    discard_planned(run)
    for number in selection.abandoned:
        Outcome(time.time()).write(run, number)
    submissions = record(run, config, selection.shards, retry_failed=retry_failed)
    for shard in selection.reopened:
        _reopen(run, shard)
    return executor.start(run, submissions, attached=attached)


def record(
    run: RunDir, config: Config, shards: Sequence[int], *, retry_failed: bool = False, planned: bool = False
) -> list[Submission]:
    """Writes the submissions that run these shards: more than one where the executor limits their size."""
    executor = choose_executor(config.executor)
    groups = executor.groups(config, shards)
    if config.data.order == "parallel":
        groups = _side_by_side(Plan.read(run.plan), groups)
    size = executor.largest_submission(config) or len(groups)
    new = _new_submission(config, executor, retry_failed=retry_failed, planned=planned)
    return [create(run, replace(new, groups=groups[at : at + size])) for at in range(0, len(groups), size)]


def _side_by_side(plan: Plan, groups: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    """What array indices run, with those of each manifest in their order; a group counts where its first shard does."""
    starts = [part.start for part in plan.results]
    queues: list[list[tuple[int, ...]]] = [[] for _ in starts]
    for group in groups:
        queues[bisect_right(starts, plan.boundaries[group[0]]) - 1].append(group)
    return tuple(interleave(queues))


def write_planned(run: RunDir, config: Config, shards: Sequence[int]) -> list[Path]:
    """Writes scripts that a person can submit by hand, if the run was never submitted; returns those there are."""
    discard_planned(run)
    if run.submission_numbers():
        return []
    executor = choose_executor(config.executor)
    if executor.scripts is None:
        return []
    return [executor.scripts.write(run, made) for made in record(run, config, shards, planned=True)]


def discard_planned(run: RunDir) -> None:
    """Removes submissions that were planned and that nobody has submitted: new ones take their numbers."""
    begun = run.list_shards().journal
    for known in read_submissions(run):
        journals = [run.journal(shard) for shard in begun.intersection(known.submission.shards)]
        attempts = (attempt for journal in journals for attempt in replay(journal).attempts)
        if known.is_by_hand and not any(attempt.start.submission == known.number for attempt in attempts):
            run.script(known.number).unlink(missing_ok=True)
            run.submission(known.number).unlink()


def _new_submission(config: Config, executor: Executor, *, retry_failed: bool, planned: bool) -> Submission:
    return Submission(
        number=0,  # given by submissions.create
        executor=executor.name,
        created=time.time(),
        groups=(),
        node=node_settings(config),
        retry_failed=retry_failed,
        resources=replace(
            executor.resources(config),
            attempts=config.retry.attempts,
            output=str(config.output_path) if config.output_path else None,
            config=config.to_mapping(),
        ),
        planned=planned,
        # Until the executor has taken over, this process answers for the submission.
        process=None if planned else ProcessIdentity.current().to_json(),
    )


def _reopen(run: RunDir, shard: int) -> None:
    """Makes a shard that counts as done one to be worked on; what is intact in it is not done again."""
    if run.shard_done(shard).exists():
        os.rename(run.shard_done(shard), run.shard_part(shard))
        fsync_folder(run.shards)


def nothing_to_do(run: RunDir, selection: Selection) -> str:
    """Why there is nothing to submit."""
    if selection.running:
        return (
            f"{run.path}: all that is not done is running now (shards {format_ranges(selection.running)}); follow it "
            "with `launcher status --watch` or stop it with `launcher cancel`"
        )
    chosen = chosen_output(read_submissions(run))
    if all(run.result_of(part.name, chosen).exists() for part in Plan.read(run.plan).results):
        return f"{run.path}: every shard is done and there is a result; check it with `launcher verify`"
    return f"{run.path}: every shard is done; write the result with `launcher gather`"
