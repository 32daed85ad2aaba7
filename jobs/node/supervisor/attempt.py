"""AttemptLog: what an attempt writes: its journal, and when what its processes have stored is durable.

The supervisor is the journal's only writer, each process that of its data file. What counts is what a beat covers, so the
order of writes is: bytes of a batch, its commit; data files to disk, then the journal; then the beat that says so. A crash
of the machine at any moment leaves at most work that no beat knows of.
"""

import dataclasses
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from jobs.kinds import EndReason, FailureKind
from jobs.node.log import log_bytes
from jobs.node.messages import Allocate, Allocated
from jobs.node.supervisor.attempt_start import NOTHING_KNOWN, Given, start_record
from jobs.node.supervisor.commit_log import AttemptFailed
from jobs.node.supervisor.failure_budget import FailureBudget
from jobs.node.supervisor.meter import Usage
from jobs.node.supervisor.pace import Pace
from jobs.node.supervisor.times import Times
from jobs.node.supervisor.vitals import Vitals
from jobs.storage.attempts import Attempt
from jobs.storage.beats import Beat, GivenUp, Held, Passage
from jobs.storage.claims import Claim
from jobs.storage.files import fsync_folder
from jobs.storage.journal import Journal, encode
from jobs.storage.layouts import agree
from jobs.storage.plans import Plan
from jobs.storage.records import Commit, Commits, DataFile, Layout
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Range, Spans
from jobs.storage.submission import Submission

_MESSAGE_CHARACTERS = 1000
# Seconds between the first beats, so that others soon know how fast it is; then it is the interval.
_FIRST_BEATS = (1.0, 1.0, 2.0)
# So many shards given up with no good sample in between: it is not the shards.
_GIVEN_UP_IN_A_ROW = 3
# Of the claims that it is done with; every beat repeats them.
_MOST_PASSAGES = 64


class AttemptLog:
    """The CommitLog of a task. ``begun`` is for its beats."""

    def __init__(
        self,
        run: RunDir,
        plan: Plan,
        submission: Submission,
        name: str,
        others: Callable[[], Iterable[Attempt]] = tuple,
        sample_name: Callable[[int], str] = str,
        vitals: Callable[[], Vitals] = Vitals,
    ) -> None:
        """Makes nothing yet.

        ``others``: the other attempts of the submission; ``sample_name``: of that of a row; ``vitals``: of its processes.
        """
        self.name = name
        self.begun = 0
        self.setup = 0.0
        self.ok = 0
        self.failed = 0
        self._run = run
        self._plan = plan
        self._node = submission.node
        self._submission = submission
        self._vitals = vitals
        self._counts: Counter[str] = Counter()
        self._budget = FailureBudget(plan, submission, others, sample_name)
        self._layout: Layout | None = None
        self._open = ExitStack()
        self._files: list[int] = []
        self._claims: list[Held] = []
        self._passages: list[Passage] = []
        self._taken: dict[int, Spans] = {}
        self._done = Spans()
        self._pending: list[Range] = []
        self._times = Times()
        self._unsynced: set[int] = set()
        self._is_broken = False
        self._in_a_row = self._ok_then = 0
        self._pace = Pace()
        self._started = self._advanced = time.time()
        self._beat = Beat(0, self._started)
        self._gaps = itertools.chain(_FIRST_BEATS, itertools.repeat(self._node.sync_interval))
        self._plan_beat()

    # --- start

    def begin(
        self,
        index: int,
        worker: int,
        devices: tuple[str, ...],
        environment: Mapping[str, str] = os.environ,
        given: Given = NOTHING_KNOWN,
    ) -> None:
        """Makes the files of the attempt, a data file for each process."""
        self._journal = self._open.enter_context(Journal(self._run.journal(self.name)))
        paths = [self._run.data(self.name, process) for process in range(len(devices))]
        for path in paths:
            self._files.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666))
            self._open.callback(os.close, self._files[-1])
        fsync_folder(self._run.attempts)  # names on disk, before a beat tells of what is in the files
        where = index, worker, self._started, devices
        start = start_record(self._plan, self._submission, *where, environment, given)
        self._journal.append(start, *(DataFile(number, path.name) for number, path in enumerate(paths)))

    # --- claims

    def hold(self, claim: Claim, taken: Mapping[int, Spans]) -> None:
        """It works on this claim, and is done with those before; ``taken``: its rows by the submission of another run."""
        self._taken |= {number: self._taken.get(number, Spans()) | rows for number, rows in taken.items()}
        done_with = (Passage(held.start, held.stop, held.journal) for held in self._claims)
        self._passages = _bounded([*self._passages, *done_with])
        self._claims = [Held(claim.range, claim.number, claim.start, claim.stop, self._journal.size)]
        self.begun = claim.start
        # The rate is that of the work: neither of waiting for some, nor of the set-up.
        if self.setup:
            self._pace.start(self.committed)

    def ready(self, setup: float) -> None:
        """Its processes are ready, after so many seconds."""
        self.setup = setup
        self._pace.start(self.committed)

    @property
    def has_claims(self) -> bool:
        return bool(self._claims)

    # --- on the way

    def allocate(self, request: Allocate) -> Allocated:
        """The layout of the run: of whoever had the first batch, or the first with values where that one had none."""
        if self._layout is None or self._layout.is_open:
            with self._noting_trouble():
                agreed = agree(self._run, Layout(request.outputs))
                if agreed != self._layout:
                    self._journal.append(agreed)
                self._layout = agreed
        return Allocated(self._layout)

    def commit(self, commits: Sequence[Commit]) -> None:
        """Journals batches that are in the data files; the next beat makes them count."""
        with self._noting_trouble():
            self._journal.append(Commits(tuple(commits)))
        self._pending += [(commit.start, commit.stop) for commit in commits]
        self._unsynced.update([commit.blocks[0].file for commit in commits if commit.blocks])
        for commit in commits:
            self._times.add(commit)
            self.ok += commit.stop - commit.start - len(commit.failed)
            if commit.failed:
                self.failed += len(commit.failed)
                self._budget.add(commit.failed)
            if commit.counts:
                self._counts.update(dict(commit.counts))

    @property
    def committed(self) -> int:
        """Rows."""
        return self.ok + self.failed

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self._pace.rate

    @property
    def given_up(self) -> Spans:
        """Rows of the shards that it does not go on with."""
        return self._plan.table.rows_of(self._budget.given_up)

    def check(self, open_failures: Collection[int]) -> Spans:
        """Gives up shards in which more samples failed than may; raises AttemptFailed at too many in a row."""
        given_up = self._budget.check(open_failures, self._as_stored)
        for one in given_up:
            self._give_up(one)
        return self._plan.table.rows_of(one.shard for one in given_up)

    def give_up_for_memory(self, rows: Collection[int]) -> Spans:
        """Gives up shards in which these samples, which may not fail, need more memory: with more of it they may be done."""
        given_up = self._budget.short_of_memory(rows)
        for one in given_up:
            self._give_up(one)
        return self._plan.table.rows_of(one.shard for one in given_up)

    def _as_stored(self) -> Attempt:
        """With all that is committed, though no beat has told of it yet."""
        beat = dataclasses.replace(self._beat, done=self._done | Spans(self._pending))
        return Attempt(self.name, self._run.journal(self.name), None, beat)

    def _give_up(self, one: GivenUp) -> None:
        print(f"shard {one.shard} is given up: {one.kind}: {one.message}", flush=True)
        self._in_a_row = self._in_a_row + 1 if self.ok == self._ok_then else 1
        self._ok_then = self.ok
        if self._in_a_row >= _GIVEN_UP_IN_A_ROW and isinstance(one.kind, FailureKind):
            raise AttemptFailed(one.kind, one.message)

    # --- beats

    def beat_if_due(self) -> None:
        """One soon after the start and then every interval, also when nothing has happened: it is a sign of life."""
        if time.monotonic() >= self._due:
            self.beat()

    def _plan_beat(self) -> None:
        self._due = time.monotonic() + min(next(self._gaps), self._node.sync_interval)

    def beat(self, **end: Any) -> None:
        """Makes durable what was committed, and says so; ``end`` are the fields of the last one."""
        with self._noting_trouble():
            if self._pending:
                self._sync()
            self._write(self._facts(), end)
        self._plan_beat()

    def _sync(self) -> None:
        # Commits name bytes of the data files, so these come first: a journal must not survive what it tells of.
        for number in self._unsynced:
            os.fdatasync(self._files[number])
        self._journal.sync()
        self._done |= Spans(self._pending)
        self._pending.clear()
        self._unsynced.clear()
        self._advanced = time.time()
        self._pace.note(self.committed)

    def _facts(self) -> Beat:
        """Of this moment, at which everything committed is durable."""
        return Beat(
            number=self._beat.number,
            time=self._beat.time,
            done=self._done,
            ok=self.ok,
            failed=self.failed,
            advanced=self._advanced,
            claims=tuple(self._claims),
            passages=tuple(self._passages),
            begun=self.begun,
            rate=round(self.rate, 3),
            setup=round(self.setup, 3),
            log=log_bytes(),
            given_up=tuple(self._budget.given_up.values()),
            shared=self._budget.shared(self._done),
            failures=self._budget.groups(),
            counts=dict(self._counts),
            taken=dict(self._taken),
            **self._times.by_name(),
            **self._vitals()._asdict(),
        )

    def _write(self, facts: Beat, end: Mapping[str, Any], before: bytes = b"") -> None:
        beat = dataclasses.replace(facts, number=facts.number + 1, time=time.time(), **end)
        self._journal.append_lines([before, encode(beat)])
        self._journal.sync()
        self._beat = beat

    @contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._is_broken = True
            raise

    # --- end

    def end(self, reason: EndReason, kind: FailureKind | None, message: str, usage: Usage) -> None:
        """The last beat."""
        seconds = round(time.time() - self._started, 3)
        end = {"end": reason, "kind": kind, "message": message[:_MESSAGE_CHARACTERS], "seconds": seconds}
        end |= dataclasses.asdict(usage)
        if self._is_broken:
            # The kernel tells of a page that it could not write only once: a sync that now went well would prove nothing,
            # so the last beat is repeated. It gets a line of its own, whatever half of one is there.
            self._write(self._beat, end, before=b"\n")
        else:
            self.beat(**end)

    def close(self) -> None:
        self._open.close()


def _bounded(passages: list[Passage]) -> list[Passage]:
    """Neighbours together where there are too many: whoever reads them has to pass over more of the journal."""
    if len(passages) <= _MOST_PASSAGES:
        return passages
    pairs = itertools.zip_longest(passages[::2], passages[1::2])
    return [
        Passage(min(one.start, other.start), max(one.stop, other.stop), one.journal) if other else one
        for one, other in pairs
    ]
