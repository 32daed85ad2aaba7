"""Submit: which rows go into a new submission, with which settings, and starting it."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jobs.errors import ConflictError, InputError, RunError
from jobs.gather.redo import damaged_rows, failed_batches
from jobs.kinds import RunState, ShardState
from jobs.machine.process_identity import ProcessIdentity
from jobs.machine.user import user_name
from jobs.storage.attempts import Attempts
from jobs.storage.files import exists
from jobs.storage.layouts import forget, restore
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission
from jobs.storage.upstreams import Upstream
from launcher.config.config import Config
from launcher.config.settings import node_settings, result_settings
from launcher.executors import Executor, choose_executor
from launcher.plan.work import with_work
from launcher.runs.cleaned import refuse_cleaned
from launcher.runs.downstream import begin, hold, how_it_waits
from launcher.runs.downstream import forget as wait_no_more
from launcher.runs.find import reference
from launcher.runs.going_on import going_on
from launcher.runs.shard_states import ShardReader, Shards
from launcher.runs.submissions import (
    Outcome,
    SubmissionState,
    create,
    discard,
    in_hand,
    read_submissions,
    withdraw,
)
from launcher.status.reader import StatusReader
from launcher.submit.turn import blocking, note, refuse_early, unfinished
from launcher.units import parse_time


@dataclass(frozen=True)
class Selection:
    """Rows for a new submission, and their ``shards``, of which ``reopened`` are done but damaged or with failed samples.

    ``plan`` is the fingerprint of the one that numbers them so.
    Of the shards asked for, ``running`` are left out because another submission has them, ``kept`` because they are done.
    ``abandoned`` are numbers of submissions that nothing works on any more and that nobody has ended. ``is_first``: nothing
    is computed yet, and nobody is about to.
    """

    plan: str
    rows: Spans
    shards: Spans
    reopened: Spans = field(default_factory=Spans)
    running: Spans = field(default_factory=Spans)
    kept: Spans = field(default_factory=Spans)
    abandoned: tuple[int, ...] = ()
    is_first: bool = False


def select_rows(run: RunDir, plan: Plan, asked: Sequence[int] | None = None, *, failed: bool = True) -> Selection:
    """What is not done and in nobody's hands; of shards ``asked`` for, batches too that are damaged or with failed samples.

    ``failed``: those with failed samples, too, of shards that have failed by that.
    """
    if asked is not None:
        refuse_cleaned(run)
    table = plan.table
    submissions = read_submissions(run)
    active = _active(run, submissions)
    over = [known.number for known in submissions if known.outcome is None and known.number not in active]
    seen = [replace(k, is_open=False, outcome=Outcome(time.time())) if k.number in over else k for k in submissions]
    states = ShardReader(run, plan).read(seen)
    wanted = Spans([(0, len(table))]) if asked is None else Spans.of_numbers(asked)
    done = states.in_state(ShardState.DONE)
    taken = _taken(table, active.values(), states.in_state(ShardState.RUNNING))
    rows = _worth_doing(run, plan, states, wanted, redo=asked is not None, failed=failed) - taken
    shards = table.shards_in(rows)
    running = (wanted if asked is not None else wanted - done) & table.shards_in(taken) - shards
    is_first = not states.closed and not taken
    kept = wanted & done - shards - running
    return Selection(plan.fingerprint, rows, shards, shards & done, running, kept, tuple(over), is_first)


def _active(run: RunDir, submissions: Sequence[SubmissionState]) -> dict[int, SubmissionState]:
    """Those that really go on, by number."""
    numbers = going_on(run, submissions)
    return {known.number: replace(known, is_open=True) for known in submissions if known.number in numbers}


def _taken(table: ShardTable, active: Iterable[SubmissionState], running: Spans) -> Spans:
    """Rows in somebody's hands: of submissions that go on, and of shards where an attempt has outlived its submission."""
    held = union(rows for _, rows in in_hand(active, table))
    return held | table.rows_of((running - table.shards_in(held)).numbers)


def _worth_doing(run: RunDir, plan: Plan, states: Shards, wanted: Spans, *, redo: bool, failed: bool) -> Spans:
    """Of the wanted shards, the rows that are not done, and what has to be done again; ``redo``: all that is worth it."""
    rows, closed = plan.table.rows_of(wanted.numbers), states.closed
    bad = states.in_state(ShardState.FAILED) & wanted & plan.table.whole_shards(closed) if failed else Spans()
    again = _spoilt(run, plan, bad) | rows & _stale(run, plan)
    return rows - closed | again | (_worth_redoing(run, plan, rows & closed) if redo else Spans())


def _stale(run: RunDir, plan: Plan) -> Spans:
    """The batches that were made of what the run before has computed again since, while this one goes on beside it."""
    upstream = Upstream.of(plan)
    return plan.table.whole_batches(upstream.stale(run)) if upstream else Spans()


def _spoilt(run: RunDir, plan: Plan, shards: Spans) -> Spans:
    """Of shards that have failed although no row of theirs is open: the batches with failed samples, or all."""
    rows = plan.table.rows_of(shards.numbers)
    failed = _failed_batches(run, plan, rows) if rows else rows
    others = shards - plan.table.shards_in(failed)
    return failed | plan.table.rows_of(others.numbers)


def _worth_redoing(run: RunDir, plan: Plan, rows: Spans) -> Spans:
    """Of rows that are done: the batches whose bytes differ from what was committed, and those with failed samples."""
    return plan.table.whole_batches(damaged_rows(run, plan, rows)) | _failed_batches(run, plan, rows)


def _failed_batches(run: RunDir, plan: Plan, rows: Spans) -> Spans:
    return Spans((commit.start, commit.stop) for commit in failed_batches(run, plan, rows))


def submit(
    run: RunDir,
    config: Config,
    selection: Selection,
    *,
    tasks: int | None = None,
    attached: bool = False,
    options: Mapping[str, str] | None = None,
) -> list[Submission]:
    """Records a submission of the selected rows and starts it. Raises RunError where nothing is left, or it is not its turn.

    ``tasks``: how many array tasks it gets, where that is not for the executor to say. It may make several of it.
    ``options`` of a scheduler are those of another environment than this one.
    """
    if not selection.rows:
        raise RunError(nothing_to_do(run, selection))
    is_after, waited, awaited = bool(config.after or config.data.of_run), False, []
    if is_after:
        refuse_early(run)
        _refuse_unreadable(run)
        waited, awaited = how_it_waits(run, Plan.read(run.plan)) is not None, unfinished(run, overlapping=True)
    executor = choose_executor(config.executor)
    discard_planned(run)
    for number in selection.abandoned:
        if exists(run.submission(number)):  # else it was planned only
            Outcome(time.time()).write(run, number)
    made = record(run, config, selection.rows, tasks=tasks, options=options)
    if Plan.read(run.plan).fingerprint != selection.plan:  # replaced by one who could not see this submission yet
        withdraw(run, made.number)
        raise ConflictError(f"{run.path}: another launcher has planned this run anew meanwhile; try again")
    # Not before the rows are ours: another launcher may have started the run meanwhile, whose outputs these are.
    if selection.is_first:  # what a first attempt found before it failed: the Job may have other outputs now
        forget(run)
    restore(run)
    if is_after:
        hold(run, Plan.read(run.plan))  # before anything reads; that it waits is forgotten once it is started
    try:
        for before in awaited:
            note(run, config, before, options)
        started = executor.start(run, [made], attached=attached)
    except InputError:
        if not Submission.read(run.submission(made.number)).job_ids:  # refused as a whole: there is nothing to follow
            withdraw(run, made.number)
            if not waited:  # nor is it to be tried again by others
                wait_no_more(run, Plan.read(run.plan))
        raise
    if is_after and not awaited:
        begin(run, Plan.read(run.plan))
    return started


def _refuse_unreadable(run: RunDir) -> None:
    """Raises RunError where its array tasks would refuse what it is made of, each of them."""
    upstream = Upstream.of(Plan.read(run.plan))
    if upstream and (problem := upstream.objection()):
        raise RunError(f"{run.path}: {problem}")


def record(
    run: RunDir,
    config: Config,
    rows: Spans,
    *,
    tasks: int | None = None,
    planned: bool = False,
    options: Mapping[str, str] | None = None,
) -> Submission:
    """Writes the submission of these rows."""
    plan, executor = Plan.read(run.plan), choose_executor(config.executor)
    tasks = tasks or executor.tasks(config, plan.table.shards_in(rows).count)
    new = _new_submission(config, executor, planned=planned)
    if options is not None:
        new = replace(new, resources=replace(new.resources, options=options))
    return create(run, with_work(run, plan, new, rows, tasks))


def write_planned(run: RunDir, config: Config, plan: Plan) -> list[Path]:
    """Writes the script that a person can submit by hand, if the run was never submitted and there are scripts."""
    discard_planned(run)
    executor = choose_executor(config.executor)
    is_early = bool(plan.after) and blocking(run) is not None  # it is planned anew then
    if run.submission_numbers() or executor.scripts is None or is_early:
        return []
    return [executor.scripts.write(run, record(run, config, Spans([(0, plan.rows)]), planned=True))]


def discard_planned(run: RunDir) -> None:
    """Removes submissions that were planned and that nobody has submitted: new ones take their numbers."""
    for known in read_submissions(run):
        if known.is_by_hand and not Attempts(run, known.number).read():
            discard(run, known.number)


def _new_submission(config: Config, executor: Executor, *, planned: bool) -> Submission:
    return Submission(
        number=0,  # given by submissions.create
        executor=executor.name,
        created=time.time(),
        tasks=0,
        rows=Spans(),
        ranges=(),
        node=node_settings(config),
        resources=replace(
            executor.resources(config),
            attempts=config.retry.attempts,
            stall=None if config.retry.stall is None else parse_time(config.retry.stall),
            **result_settings(config),
            config=config.to_mapping(),
            profiles=config.profiles,
        ),
        planned=planned,
        owner=user_name(),
        # Until the executor has taken over, this process answers for the submission.
        process=None if planned else ProcessIdentity.current().to_json(),
    )


def nothing_to_do(run: RunDir, selection: Selection) -> str:
    """Why there is nothing to submit."""
    if selection.running:
        name = reference(run)
        return (
            f"{run.path}: all that is not done waits or runs already (shards {selection.running.brief()}); follow it "
            f"with `launcher status {name} --watch` or stop it with `launcher cancel {name}`"
        )
    if StatusReader(run).read().state is RunState.COMPLETE:
        return (
            f"{run.path}: every shard is done and there is a result; check it with `launcher verify {reference(run)}`"
        )
    return f"{run.path}: every shard is done; write the result with `launcher gather {reference(run)}`"
