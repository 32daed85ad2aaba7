"""Chain: the runs that a run comes after, in order, each with how it stands, and what that means for the run."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from jobs.kinds import RunState
from jobs.storage.attempts import Ownership
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.upstreams import Upstream, ways_on
from launcher.runs.downstream import Waiting, how_it_waits
from launcher.runs.find import reference
from launcher.status.sample_counts import samples_json
from launcher.visible import on_one_line, short_line

if TYPE_CHECKING:
    from launcher.documents.status import ChainDocument, LinkDocument
    from launcher.status.status import Status

# Between the end of a run and the submission of those that wait for it, at most.
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Link:
    """A run before another one; ``status`` is None where it is gone. ``overlaps``: its samples are taken while it goes on."""

    run: RunDir
    status: "Status | None"
    overlaps: bool = False

    @property
    def is_complete(self) -> bool:
        return self.status is not None and self.status.state is RunState.COMPLETE

    @property
    def lets_begin(self) -> bool:
        """Whether the run after it may begin, as far as it goes."""
        return self.is_complete or (self.overlaps and self.is_running)

    @property
    def is_running(self) -> bool:
        return self.status is not None and self.status.state is RunState.RUNNING

    @property
    def words(self) -> str:
        """Its state, as it is said of the run: ``which is running``."""
        if self.status is None:
            return "which is gone"
        how = {RunState.FAILED: "which failed", RunState.CANCELLED: "which was cancelled"}
        return how.get(self.status.state, f"which is {self.status.state}")

    @property
    def turn(self) -> str:
        """When the run after it is submitted, as it is said of the run: ``once that is complete``."""
        if self.status is None or not self.overlaps or self.is_running:
            return "once that is complete"
        return f"once that {'begins' if self.status.state is RunState.PLANNED else 'goes on'}"

    def to_json(self) -> "LinkDocument":
        if self.status is None:
            return {"run": str(self.run.path), "state": None}
        samples = samples_json(self.status.total, self.status.ok, self.status.failed)
        return {"run": str(self.run.path), "state": self.status.state, "samples": samples}


@dataclass(frozen=True)
class Chain:
    """``links`` are all runs before, those first that others come after; ``own`` those that the run itself names.

    ``waiting``: it is to be started by whoever completes these. ``outdated``: the run that its samples are of, or one that
    these are made of, was computed again, in words, and ``ways_on``: what to do about that; ``redoes_some``: some of its
    samples alone are to be computed again.
    """

    links: tuple[Link, ...] = ()
    own: tuple[Link, ...] = ()
    waiting: Waiting | None = None
    outdated: str | None = None
    ways_on: str | None = None
    redoes_some: bool = False

    @classmethod
    def read(
        cls, run: RunDir, plan: Plan, owners: Sequence[Ownership], read: Callable[[RunDir], "Status | None"]
    ) -> Self:
        """``owners``: who counts for which rows of the run. ``read`` gives the status of another run, None if there is none."""
        if not plan.after:
            return cls()
        upstream = Upstream.of(plan)
        overlapping = upstream.directory.path if upstream and upstream.overlaps else None
        before = (RunDir(Path(path)) for path in plan.after)
        own = tuple(Link(one, read(one), one.path == overlapping) for one in before)
        found: dict[Path, Link] = {}
        for link in own:
            found |= {one.run.path: one for one in (*(link.status.chain.links if link.status else ()), link)}
        chain = cls(tuple(found.values()), own, how_it_waits(run, plan))
        if upstream is None:
            return chain
        seen = found.get(upstream.directory.path)
        stale = upstream.stale(run, owners, seen.status.shards.owners if seen and seen.status else None)
        if (outdated := upstream.change(run, stale=stale)) is None:
            return chain
        advice = ways_on(reference(run), plan, upstream, stale)
        return replace(chain, outdated=outdated, ways_on=advice, redoes_some=bool(stale) and not upstream.is_another)

    @property
    def blocking(self) -> Link | None:
        """What it waits for: of a run before it that is not complete, what that may not begin before."""
        return _cause(link for link in self.own if not link.is_complete)

    @property
    def barrier(self) -> Link | None:
        """The same, as far as it may not begin before."""
        return _cause(link for link in self.own if not link.lets_begin)

    @property
    def source(self) -> Link | None:
        """The run that goes on now and whose samples it takes meanwhile."""
        return next((link for link in self.own if link.overlaps and link.is_running), None)

    @property
    def goes_on(self) -> bool:
        """Whether something happens that will have the run started, without a person."""
        if self.waiting is None or self.waiting.problem:
            return False
        if self.blocking is None:  # it is being submitted, unless whoever does that was killed
            return any(link.status and time.time() - link.status.ended < _START_SECONDS for link in self.own)
        before = self.blocking.status
        if before is None or before.state is RunState.FAILED:
            return False
        return before.state is RunState.RUNNING or before.chain.goes_on

    def add_to(self, document: "ChainDocument", *, is_running: bool) -> None:
        """What `status --json` has of it; nothing for a run that comes after none. One that overlaps may be running."""
        if self.links:
            document["after"] = [link.to_json() for link in self.links]
        if self.blocking and not (is_running and self.source):
            document["blocked_by"] = str(self.blocking.run.path)
        if self.waiting:
            document["waits"] = {"problem": self.waiting.problem or None}
        if self.outdated:
            document["outdated"] = self.outdated


def _cause(links: Iterator[Link]) -> Link | None:
    """Why the first of these runs is not complete; it ``overlaps`` where all of them do, from that one on."""
    link = next(links, None)
    if link is None or link.status is None or link.is_running:
        return link
    cause = link.status.chain.barrier
    return replace(cause, overlaps=cause.overlaps and link.overlaps) if cause else link


def link_lines(chain: Chain, summary: Callable[["Status"], str]) -> Iterator[str]:
    """Each run before, a line."""
    for link in chain.links:
        how = summary(link.status) if link.status else "is gone: there is no such run any more"
        yield f"  after {on_one_line(reference(link.run))}  {how}"


def waiting_lines(status: "Status") -> Iterator[str]:
    """What a run waits for, and how it goes on then; or why what it has is not right any more."""
    chain, name = status.chain, reference(status.run)
    if chain.outdated:
        yield f"  outdated: {chain.outdated}"
        yield f"    {chain.ways_on}"
    if status.state is RunState.RUNNING and (link := chain.source):
        yield f"  takes the samples of {reference(link.run)} as that has done them"
    if status.state in (RunState.RUNNING, RunState.COMPLETE):
        return
    link = chain.blocking
    if chain.outdated and not link and not chain.goes_on:  # what was said above is all that there is to do
        return
    if chain.waiting and chain.waiting.problem:
        yield f"  could not be submitted: {short_line(chain.waiting.problem)}; when that is mended: launcher submit {name}"
    elif link and link.lets_begin and (status.state is RunState.FAILED or not chain.waiting):
        yield f"  comes after {reference(link.run)}, {link.words}, and does not have to wait for it"
    elif link and chain.waiting:
        yield f"  waits for {reference(link.run)}, {link.words}, and is submitted by itself {link.turn}"
    elif chain.goes_on:
        yield "  all runs before it are complete, and the last one's end submits it"
    elif chain.waiting:
        yield f"  all runs before it are complete, and nobody has submitted it; do: launcher submit {name}"
    elif link and not chain.outdated:
        to_do = f"to have it submitted {link.turn}: launcher submit {name}"
        yield f"  comes after {reference(link.run)}, {link.words}; {to_do}"


NO_CHAIN = Chain()
