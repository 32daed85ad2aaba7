"""Upstream: the run whose samples another run has, as that one's plan names it, and whether it is still what it was.

Which submission has computed which of its rows is hashed into a seal (seals.py), with when it was planned: another seal means
that something of it was computed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from jobs.errors import RunError
from jobs.storage.attempts import Attempts, owners
from jobs.storage.files import exists, is_file
from jobs.storage.plans import Plan, refuse_unknown
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from jobs.storage.seals import seal_of

ROW = "upstream_row"
"""The column of the manifest that says which row of the other run's result a sample is."""


@dataclass(frozen=True)
class Upstream:
    """``run`` is a run directory, ``manifest`` one of several that it has, ``outputs`` those of its outputs that samples have.

    ``seal`` is that of what it had stored when the plan was made; empty while that was not complete. Of the samples that failed
    there ``omitted`` were left out; ``keeps_failed``: they are samples here, and fail.
    """

    run: str
    manifest: str | None
    outputs: tuple[str, ...]
    keeps_failed: bool
    seal: str
    omitted: int = 0

    @classmethod
    def of(cls, plan: Plan) -> Self | None:
        """The one whose samples a plan has. Raises RunError where a newer version says more of it."""
        found: Mapping[str, Any] | None = plan.manifest.get("upstream")
        if not found:
            return None
        refuse_unknown(found, cls, f"the plan of {plan.name}, of the run whose samples these are,")
        return cls(**{**found, "outputs": tuple(found["outputs"])})

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

    def change(self, made_of_it: str = "this run") -> str | None:
        """What has become of it since, or of those that it is made of itself, in words.

        None where all is as it was, or is gone, which changes no result.
        """
        if own := self._own_change(made_of_it):
            return own
        above = Upstream.of(Plan.read(self.directory.plan)) if is_file(self.directory.plan) else None
        return above.change(f"run {self.name}") if above else None

    def _own_change(self, made_of_it: str) -> str | None:
        return f"run {self.name} was computed again since {made_of_it} was planned" if self.is_another else None

    @property
    def is_another(self) -> bool:
        """Whether it has stored something else than when the plan was made."""
        run = self.directory
        return bool(self.seal) and is_file(run.plan) and current_seal(run, self.manifest) != self.seal

    def has_grown(self, rows: int) -> bool:
        """Whether it has more samples by now than it had for a plan with so many ``rows``."""
        part = _part(Plan.read(self.directory.plan), self.manifest)
        return part is None or part.rows != rows + self.omitted


def refuse_outdated(run: RunDir, plan: Plan) -> None:
    """Raises RunError where the run whose samples a plan has was computed again, so that its results may be others by now."""
    upstream = Upstream.of(plan)
    if upstream and (change := upstream.change()):
        raise RunError(f"{run.path}: {change}. {ways_on(run.argument, plan, upstream)}")


def ways_on(run: str, plan: Plan, upstream: Upstream) -> str:
    """What to do about that: results are of the rows that they were made of, so they can be kept where these are the same."""
    if not upstream.is_another:
        return f"What is made of that comes first: launcher status {RunDir(Path(upstream.run)).argument}"
    again = f"o compute everything again: launcher rerun {run} --fresh"
    if upstream.has_grown(plan.rows):
        return f"It has other samples, too. T{again}"
    return f"Where the results stay right all the same: launcher rerun {run} --keep-results; t{again}"


def current_seal(run: RunDir, manifest: str | None) -> str | None:
    """The seal of what a run has of a manifest by now; None where it has no such one any more."""
    plan = Plan.read(run.plan)
    part = _part(plan, manifest)
    return stored_seal(run, plan, part) if part else None


def _part(plan: Plan, manifest: str | None) -> Part | None:
    return next((part for part in plan.results if part.name == manifest), None)


def stored_seal(run: RunDir, plan: Plan, part: Part) -> str:
    """The seal of what is stored of a part.

    Of this plan alone: a run that is computed anew has the fingerprint and the submissions that it had before.
    """
    return seal_of(f"{plan.fingerprint} {plan.created!r}", part, owners(Attempts(run).read()))
