"""Survey: what a result has to hold, counted over all journals before any byte is copied.

It decides whether a gather may go on, and makes room for everything.
"""

from dataclasses import dataclass, field, replace
from typing import Self

from jobs.errors import DamageError, OutputError
from jobs.gather.committed import Committed, Damage, ShardRows
from jobs.gather.result_file import Contents
from jobs.gather.result_rows import count_id_bytes, count_rows, text
from jobs.storage.plans import Plan
from jobs.storage.records import Output, Part
from jobs.storage.rundir import RunDir


@dataclass
class Survey:
    """Counts of samples, errors and bytes. ``lost`` are rows of done shards that no commit tells of any more."""

    rows: int
    ok: int = 0
    failed: int = 0
    kind_bytes: int = 0
    message_bytes: int = 0
    id_bytes: int | None = None
    bad_lines: int = 0
    outputs: tuple[Output, ...] = ()
    value_bytes: dict[str, int] = field(default_factory=dict)
    not_done: list[int] = field(default_factory=list)
    lost: list[Damage] = field(default_factory=list)
    versions: dict[str, set[str]] = field(default_factory=dict)
    _first: int = 0

    @classmethod
    def take(cls, run: RunDir, plan: Plan, part: Part, committed: Committed) -> Self:
        """Raises OutputError where shards differ in their outputs, DamageError where the manifest has changed."""
        survey = cls(part.rows)
        if plan.id_column is not None:
            rows, survey.id_bytes = count_rows(run.manifest), count_id_bytes(run.manifest, plan.id_column, part)
            if rows != plan.rows:
                raise DamageError(f"{run.manifest} has {rows} rows, and the plan {plan.rows}: plan a new run")
        for shard in committed.shards():
            survey.add(shard)
        return survey

    @property
    def missing(self) -> int:
        return self.rows - self.ok - self.failed

    @property
    def whole(self) -> bool:
        """Whether each sample was computed, and each shard ended within its budget of failed samples."""
        return not self.missing and not self.not_done

    @property
    def contents(self) -> Contents:
        items = {o.name: self.value_bytes[o.name] // o.item_bytes for o in self.outputs if o.ragged}
        return Contents(self.rows, self.outputs, items, self.failed, self.kind_bytes, self.message_bytes, self.id_bytes)

    def assume(self, outputs: tuple[Output, ...]) -> None:
        """The outputs of a result in which no sample is ok: those of the run's other results."""
        if not self.outputs:
            self.outputs = outputs
            self.value_bytes = {output.name: 0 for output in outputs if output.ragged}

    def add(self, shard: ShardRows) -> None:
        if shard.layout.outputs and shard.commits:
            self._check_outputs(shard)
        if shard.done:
            self.lost += [Damage(shard.shard.index, gap.start, gap.stop, ("journal",)) for gap in shard.gaps()]
        else:
            self.not_done.append(shard.shard.index)
        self.bad_lines += shard.bad_lines
        for name, version in shard.versions:
            self.versions.setdefault(name, set()).add(version)
        for commit in shard.commits:
            self.ok += commit.stop - commit.start - len(commit.failed)
            self.failed += len(commit.failed)
            for sample in commit.failed:
                self.kind_bytes += len(text(sample.kind))
                self.message_bytes += len(text(sample.message))
            for name, segment in commit.segments.items():
                self.value_bytes[name] += segment.size

    def _check_outputs(self, shard: ShardRows) -> None:
        if not self.outputs:
            self.outputs, self._first = shard.layout.outputs, shard.shard.index
            self.value_bytes = {output.name: 0 for output in self.outputs if output.ragged}
        known, found = (
            {output.name: replace(output, offset=0) for output in outputs}
            for outputs in (self.outputs, shard.layout.outputs)
        )
        if known != found:
            raise OutputError(
                f"shards {self._first} and {shard.shard.index} have different outputs: {_describe(known)} in the one, "
                f"{_describe(found)} in the other. The Job or its packages changed between them: plan a new run"
            )


@dataclass(frozen=True)
class Surveyed:
    """One of a run's results before it is made, or looked at."""

    part: Part
    committed: Committed
    survey: Survey


def survey_results(run: RunDir, plan: Plan) -> list[Surveyed]:
    """All results of a run; those in which no sample is ok have the outputs of the others. Raises as Survey.take does."""
    found = []
    for part in plan.results:
        committed = Committed(run, plan, part)
        found.append(Surveyed(part, committed, Survey.take(run, plan, part, committed)))
    outputs: tuple[Output, ...] = next((one.survey.outputs for one in found if one.survey.outputs), ())
    for one in found:
        one.survey.assume(outputs)
    return found


def _describe(forms: dict[str, Output]) -> str:
    return ", ".join(f"{name} {output.describe()}" for name, output in sorted(forms.items()))
