"""Upstream: the run whose samples another run has, as that one's plan names it, and whether it is still what it was.

Which submission has computed which of its rows is hashed into a seal (seals.py), with when it was planned: another seal means
that something of it was computed again. Of a run that goes on while this one takes its samples the plan alone is hashed, and
attempts say which submission had done what they took (``taken`` of their beats).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from jobs.errors import RunError
from jobs.plural import counted
from jobs.storage.attempts import Attempts, Ownership, owners
from jobs.storage.files import exists, is_file
from jobs.storage.plans import Plan, refuse_unknown
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from jobs.storage.seals import by_submission, seal_of
from jobs.storage.spans import Spans, union

ROW = "upstream_row"
"""The column of the manifest that says which row of the other run's result a sample is."""


@dataclass(frozen=True)
class Upstream:
    """``run`` is a run directory, ``manifest`` one of several that it has, ``outputs`` those of its outputs that samples have.

    ``seal`` is that of what it had stored when the plan was made; empty while that was not complete. Of the samples that failed
    there ``omitted`` were left out; ``keeps_failed``: they are samples here, and fail. ``overlaps``: this run takes samples
    while that one goes on, and all of its rows; ``seal`` is then that of its plan, and ``kept`` that of what it had stored
    when somebody said that results of before stay right.
    """

    run: str
    manifest: str | None
    outputs: tuple[str, ...]
    keeps_failed: bool
    seal: str
    omitted: int = 0
    overlaps: bool = False
    kept: str = ""

    @classmethod
    def of(cls, plan: Plan) -> Self | None:
        """The one whose samples a plan has. Raises RunError where a newer version says more of it."""
        found: Mapping[str, Any] | None = plan.manifest.get("upstream")
        if not found:
            return None
        refuse_unknown(found, cls, f"the plan of {plan.name}, of the run whose samples these are,")
        return cls(**{**found, "outputs": tuple(found["outputs"])})

    def to_json(self) -> dict[str, Any]:
        """As in plans; without what has its default, of which older versions do not know."""
        return {name: value for name, value in vars(self).items() if value or name not in ("overlaps", "kept")}

    @property
    def directory(self) -> RunDir:
        return RunDir(Path(self.run))

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"{self.directory.name} ({self.manifest})" if self.manifest else self.directory.name

    def deciding(self) -> list[Any]:
        """What of it decides the bytes of results that are made of it: not where it lies."""
        return [self.manifest, self.outputs, self.keeps_failed, self.seal]

    def objection(self) -> str | None:
        """Why nothing is to be computed from it now; None where it is as it was planned."""
        if not self.seal:
            return f"run {self.name} was not complete when this run was planned; `launcher submit` waits for that"
        if not is_file(self.directory.plan):
            return f"run {self.name} is gone: there is no {self.directory.plan}"
        if self.outputs and exists(self.directory.cleaned):
            return f"run {self.name} was cleaned, and with it its outputs went, which samples have; compute it anew (--fresh)"
        return self._own_change("this run")

    def change(self, run: RunDir, made_of_it: str = "this run", stale: Spans | None = None) -> str | None:
        """What has become of it since the ``run`` was made of it, or of those that it is made of itself, in words.

        None where all is as it was, or is gone, which changes no result. ``stale``: what is known of that.
        """
        if own := self._own_change(made_of_it):
            return own
        if rows := self.stale(run) if stale is None else stale:
            return f"run {self.name} has computed {counted(rows.count, 'sample')} again since {made_of_it} took them from it"
        above = Upstream.of(Plan.read(self.directory.plan)) if is_file(self.directory.plan) else None
        return above.change(self.directory, f"run {self.name}") if above else None

    def _own_change(self, made_of_it: str) -> str | None:
        return f"run {self.name} was computed again since {made_of_it} was planned" if self.is_another else None

    @property
    def is_another(self) -> bool:
        """Whether it has stored something else than when the plan was made; where they overlap, whether it has another plan."""
        known = self.kept or self.seal
        return bool(known) and is_file(self.directory.plan) and self._seal_now() != known

    def _seal_now(self) -> str | None:
        plan = Plan.read(self.directory.plan)
        part = _part(plan, self.manifest)
        if part is None:
            return None
        is_planned_alone = self.overlaps and not self.kept
        return plan_seal(plan, part) if is_planned_alone else stored_seal(self.directory, plan, part)

    def stale(
        self, run: RunDir, made: Sequence[Ownership] | None = None, known: Sequence[Ownership] | None = None
    ) -> Spans:
        """The rows of the ``run``, which overlaps with it, that are done, and made of what it has computed again since.

        ``made``: who counts for which rows of the run, where that was read, and ``known`` of this one, where it was read later.
        """
        if not self.overlaps or self.kept or not is_file(self.directory.plan):
            return Spans()
        if made is None:  # first: what was taken is done by the time that the other one is read
            made = owners(Attempts(run).read())
        part = _part(Plan.read(self.directory.plan), self.manifest)
        return union(one.rows for one in made) - _still_right(made, self._done(part, known) if part else {})

    def _done(self, part: Part, known: Sequence[Ownership] | None = None) -> dict[int, Spans]:
        """The rows of a part of it that are done, counted from its first, by the submission whose values count."""
        done = by_submission(part, owners(Attempts(self.directory).read()) if known is None else known)
        return {number: part.own(rows) for number, rows in done.items()}

    @property
    def has_ended(self) -> bool:
        """Whether all its submissions have; one that goes on with another is there before that has ended."""
        numbers = self.directory.submission_numbers()
        ended = all(exists(self.directory.outcome(number)) for number in numbers)
        return ended and self.directory.submission_numbers() == numbers

    def to_come(self) -> Spans | None:
        """The rows of a run that overlaps with it which it has not done yet; None where they do not overlap."""
        if not self.overlaps or not is_file(self.directory.plan):
            return None
        part = _part(Plan.read(self.directory.plan), self.manifest)
        return Spans([(0, part.rows)]) - union(self._done(part).values()) if part else Spans()

    def has_grown(self, rows: int) -> bool:
        """Whether it has more samples by now than it had for a plan with so many ``rows``."""
        part = _part(Plan.read(self.directory.plan), self.manifest)
        return part is None or part.rows != rows + self.omitted


def refuse_outdated(run: RunDir, plan: Plan) -> None:
    """Raises RunError where the run whose samples a plan has was computed again, so that its results may be others by now."""
    upstream = Upstream.of(plan)
    if upstream and (change := upstream.change(run)):
        raise RunError(f"{run.path}: {change}. {ways_on(run.argument, plan, upstream, upstream.stale(run))}")


def ways_on(name: str, plan: Plan, upstream: Upstream, stale: Spans) -> str:
    """What to do about that: results are of the rows that they were made of, so they can be kept where these are the same."""
    keep = f"Where the results stay right all the same: launcher rerun {name} --keep-results; t"
    if upstream.is_another:
        again = f"o compute everything again: launcher rerun {name} --fresh"
        return f"It has other samples, too. T{again}" if upstream.has_grown(plan.rows) else f"{keep}{again}"
    if stale:
        return f"{keep}o compute those again: launcher rerun {name}"
    return f"What is made of that comes first: launcher status {RunDir(Path(upstream.run)).argument}"


def _still_right(made: Iterable[Ownership], now: Mapping[int, Spans]) -> Spans:
    """Of rows that were taken from submissions of a run, those that no other one has done since."""
    taken: dict[int, list[Spans]] = {}
    for one in made:
        for number, rows in one.attempt.beat.taken.items():
            taken.setdefault(number, []).append(one.rows & rows)
    return union(
        union(rows) - union(others for other, others in now.items() if other != number)
        for number, rows in taken.items()
    )


def _part(plan: Plan, manifest: str | None) -> Part | None:
    return next((part for part in plan.results if part.name == manifest), None)


def stored_seal(run: RunDir, plan: Plan, part: Part) -> str:
    """The seal of what is stored of a part.

    Of this plan alone: a run that is computed anew has the fingerprint and the submissions that it had before.
    """
    return seal_of(f"{plan.fingerprint} {plan.created!r}", part, owners(Attempts(run).read()))


def plan_seal(plan: Plan, part: Part) -> str:
    """The seal of a part of which nothing is stored: another one where the run is planned anew, or has grown."""
    return seal_of(f"{plan.fingerprint} {plan.created!r} {plan.generation}", part, ())
