"""ResultPlace: where a result of a run is or will be, and what is there now, as far as is known without asking a store."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jobs.storage.files import is_file
from jobs.storage.plans import Plan
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from jobs.storage.seals import read_seal
from jobs.storage.submission import ResultForm
from launcher.runs.delivered import Delivered
from launcher.runs.submissions import SubmissionState, chosen_form, chosen_output


@dataclass(frozen=True)
class ResultPlace:
    """A file at ``path``; with a ``url`` an object, which lies at ``path`` until it is in the store.

    ``format``: that of another program, if any: both are a folder then, and what attempts have stored is read in its place.
    """

    run: RunDir
    part: Part
    path: Path
    url: str = ""
    format: str = ""

    @property
    def is_folder(self) -> bool:
        return bool(self.format)

    @property
    def shown(self) -> Path | str:
        """The file, or the URL."""
        return self.url or self.path

    @property
    def lock(self) -> Path:
        """Whoever makes the result has a NewResult of this; all results that go to a store are made as one."""
        return self.run.outgoing.with_suffix(".lock") if self.url else self.path

    @cached_property
    def record(self) -> Delivered | None:
        """What the run has put, or begun to put, into a store: here, or where it was wanted before."""
        return Delivered.read(self.run, self.part.name) if self.url else None

    @property
    def delivered(self) -> Delivered | None:
        """The same, if it is here."""
        return self.record if self.record and self.record.url == self.url else None

    @property
    def exists(self) -> bool:
        """In a store, in this format; older versions did not note which it was."""
        if not self.url:
            return is_file(self.path)
        return bool(self.delivered and self.delivered.is_there and self.delivered.format in (None, self.format))

    @property
    def seal(self) -> str | None:
        """As of read_seal. Raises OSError where nothing is there."""
        if not self.url:
            return read_seal(self.path)
        if not (self.delivered and self.exists):
            raise FileNotFoundError(self.url)
        return self.delivered.seal

    def written(self) -> tuple[float, int]:
        """When, seconds since the epoch, and how many bytes. Raises OSError where nothing is there."""
        if self.delivered:
            return self.delivered.time, self.delivered.size
        found = self.path.stat()
        return found.st_mtime, found.st_size


def result_places(run: RunDir, plan: Plan, submissions: Sequence[SubmissionState]) -> list[ResultPlace]:
    """Where the newest submission wants them."""
    return places_of(run, plan, chosen_output(submissions), chosen_form(submissions))


def places_of(run: RunDir, plan: Plan, output: Path | None, form: ResultForm) -> list[ResultPlace]:
    """Of results wanted at ``output``, or in a store; {manifest} in either stands for the name."""
    store = form.store
    chosen = run.outgoing_to(store) if store else output
    return [
        ResultPlace(
            run, part, run.result_of(part.name, chosen), store.replace("{manifest}", part.name or ""), form.format
        )
        for part in plan.results
    ]
