"""Survey: what a result has to hold, counted over all journals before any byte is copied.

It decides whether a gather may go on, and makes room for everything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from jobs.errors import OutputError
from jobs.gather.budgets import Budgets
from jobs.gather.committed import Committed, Damage, Stored
from jobs.gather.result_file import Contents
from jobs.gather.result_rows import IdBytes, text
from jobs.gather.sources import read_sources
from jobs.storage.attempts import Ownership
from jobs.storage.layouts import read_layout
from jobs.storage.plans import Plan
from jobs.storage.records import Layout, Output, Part
from jobs.storage.rundir import RunDir
from jobs.storage.seals import seal_of
from jobs.storage.spans import Spans

Visit = Callable[[Part, Stored], None]
"""Sees the batches of a part in row order, on the way: to read the journals again takes as long as the first time."""


@dataclass
class Survey:
    """Counts of batches, samples, errors and bytes.

    ``not_done`` are the shards that have open rows, ``over_budget`` those of which more samples failed than may; ``lost``
    are closed rows that no attempt has as it committed them. ``versions`` of packages computed them, and ``code`` of the
    Job: its fingerprints, each with the rows of the result.
    """

    rows: int
    batches: int = 0
    ok: int = 0
    failed: int = 0
    kind_bytes: int = 0
    message_bytes: int = 0
    id_bytes: int | None = None
    outputs: tuple[Output, ...] = ()
    value_bytes: dict[str, int] = field(default_factory=dict)
    not_done: Spans = field(default_factory=Spans)
    over_budget: Spans = field(default_factory=Spans)
    lost: list[Damage] = field(default_factory=list)
    versions: dict[str, set[str]] = field(default_factory=dict)
    code: dict[str, Spans] = field(default_factory=dict)

    @classmethod
    def take(
        cls, run: RunDir, plan: Plan, part: Part, committed: Committed, budgets: Budgets, visit: Visit | None = None
    ) -> Self:
        """Raises OutputError where attempts differ in their outputs. ``visit`` is called with each batch that counts."""
        survey = cls(part.rows)
        if plan.id_column is not None:
            survey.id_bytes = IdBytes(plan.manifest_file(run), plan.id_column, part).up_to(part.rows)
        for source, rows_of_it in committed.owners:
            code = source.attempt.start.code if source.attempt.start else ""
            own = part.own(rows_of_it)
            survey.code[code] = survey.code.get(code, Spans()) | own
            for name, version in source.attempt.start.versions.items() if source.attempt.start else ():
                survey.versions.setdefault(name, set()).add(version)
        _Surveyor(survey, plan, part, budgets).look(committed, visit)
        return survey

    @property
    def missing(self) -> int:
        return self.rows - self.ok - self.failed

    @property
    def whole(self) -> bool:
        """Whether each sample was computed, and each shard ended within its budget of failed samples."""
        return not (self.missing or self.not_done or self.over_budget)

    @property
    def contents(self) -> Contents:
        items = {o.name: self.value_bytes[o.name] // o.item_bytes for o in self.outputs if o.ragged}
        return Contents(self.rows, self.outputs, items, self.failed, self.kind_bytes, self.message_bytes, self.id_bytes)

    def assume(self, outputs: tuple[Output, ...]) -> None:
        """The outputs of a result in which no sample is ok, or of which there are only empty lists."""
        if not self.outputs:
            self.outputs = outputs
            self.value_bytes = {output.name: 0 for output in outputs if output.ragged}
        if joined := Layout(self.outputs).joined(outputs):
            self.outputs = joined.outputs


class _Surveyor:
    """Fills a survey, in row order."""

    def __init__(self, survey: Survey, plan: Plan, part: Part, budgets: Budgets) -> None:
        self._survey = survey
        self._table = plan.table
        self._part = part
        self._budgets = budgets
        self._checked: set[int] = set()
        self._first_shard = 0
        self._shard = self._failed_of_shard = 0
        self._over_budget: list[int] = []

    def look(self, committed: Committed, visit: Visit | None) -> None:
        survey, at = self._survey, 0
        for stored in committed.batches():
            if stored.commit.start > at:
                survey.lost += committed.lost(at, stored.commit.start)
            self._add(stored)
            if visit:
                visit(self._part, stored)
            at = stored.commit.stop
        survey.lost += committed.lost(at, survey.rows)
        self._close_shard()
        open_rows = Spans([(self._part.start, self._part.stop)]) - committed.closed
        survey.not_done, survey.over_budget = self._table.shards_in(open_rows), Spans.of_numbers(self._over_budget)

    def _add(self, stored: Stored) -> None:
        survey, commit = self._survey, stored.commit
        survey.batches += 1
        survey.ok += commit.stop - commit.start - len(commit.failed)
        if commit.failed:
            self._add_failed(stored)
        if commit.blocks:
            if stored.source.rank not in self._checked:
                self._checked.add(stored.source.rank)
                self._check_outputs(stored)
            for name in survey.value_bytes:
                survey.value_bytes[name] += commit.blocks[stored.source.slots[name] + 1].size

    def _add_failed(self, stored: Stored) -> None:
        survey, failed = self._survey, stored.commit.failed
        survey.failed += len(failed)
        survey.kind_bytes += sum(len(text(sample.kind)) for sample in failed)
        survey.message_bytes += sum(len(text(sample.message)) for sample in failed)
        shard = self._table.shard_at(stored.commit.start + self._part.start)
        if shard != self._shard:
            self._close_shard()
            self._shard, self._failed_of_shard = shard, 0
        self._failed_of_shard += len(failed)

    def _close_shard(self) -> None:
        if self._failed_of_shard > self._budgets.of(self._shard):
            self._over_budget.append(self._shard)

    def _check_outputs(self, stored: Stored) -> None:
        survey, found = self._survey, stored.source.outputs
        shard = self._table.shard_at(stored.commit.start + self._part.start)
        if not survey.outputs:
            self._first_shard = shard
            survey.assume(found)
        joined = Layout(survey.outputs).joined(found)
        if joined is None:
            raise OutputError(
                f"shards {self._first_shard} and {shard} have different outputs: {_describe(survey.outputs)} in the one, "
                f"{_describe(found)} in the other. The Job or its packages changed between them: plan a new run"
            )
        survey.outputs = joined.outputs


@dataclass(frozen=True)
class Surveyed:
    """One of a run's results before it is made, or looked at."""

    part: Part
    committed: Committed
    budgets: Budgets
    survey: Survey

    def seal(self, plan: Plan) -> str:
        """What a complete result of it says that it was made of."""
        owned = (Ownership(source.attempt, source.owned) for source in self.committed.sources)
        return seal_of(plan.fingerprint, self.part, owned)


def survey_results(run: RunDir, plan: Plan, visit: Visit | None = None) -> list[Surveyed]:
    """All results of a run; those in which no sample is ok have the outputs of the run. As Survey.take, ``visit`` too."""
    sources, budgets, found = read_sources(run), Budgets(run, plan), []
    for part in plan.results:
        rows = Spans([(part.start, part.stop)])
        committed = Committed(sources, plan.table, rows, part.start, len(plan.results))
        found.append(Surveyed(part, committed, budgets, Survey.take(run, plan, part, committed, budgets, visit)))
    known = [one.survey.outputs for one in found if one.survey.outputs]
    if not known or Layout(known[0]).is_open:
        known += [layout.outputs] if (layout := read_layout(run)) else []
    for outputs in known:
        for one in found:
            one.survey.assume(outputs)
    return found


def _describe(outputs: tuple[Output, ...]) -> str:
    return ", ".join(f"{output.name} {output.describe()}" for output in sorted(outputs, key=lambda one: one.name))
