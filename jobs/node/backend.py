"""Backend: where the children of a crew get their Job and samples from, and where results go.

A task's is the run directory (process/run_backend.py); that of jobs.Hierarchy is memory shared with its caller
(jobs/library/caller_backend.py). Picked by who starts the crew, pickled to every child.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from jobs.job import Job
from jobs.kinds import SampleFailureKind
from jobs.node.batches import BatchWork
from jobs.node.messages import Allocate, Allocated, Broken, Loaded
from jobs.storage.records import Commit, FailedSample


class SampleReader(Protocol):
    """The samples, by their rows."""

    def rows(self, start: int, stop: int) -> Iterable[Any]:
        """What ``Job.load`` gets for each of the rows ``[start, stop)``, in order, as it is, whoever had it before."""

    def unreadable(self, start: int, stop: int) -> Mapping[int, BaseException]:
        """Which of the rows ``[start, stop)`` cannot be had, and why; in their places ``rows`` has anything."""


class ResultWriter(Protocol):
    """A process's end for results."""

    def keep(self, results: Any, loaded: Loaded, work: BatchWork) -> None:
        """Takes the results of a piece into its batch; raises OutputError where they do not fit to the run's."""

    def store(self, work: BatchWork) -> Commit:
        """Puts a whole batch where it belongs; raises OutputError where it must be checked sample by sample."""

    def store_rows(self, rows: Sequence[tuple[int, dict[str, Any], float, float]]) -> list[Commit]:
        """The same for batches of one row, (row, outputs, seconds) each; only where the backend joins batches."""


class Backend(Protocol):
    """Made by the supervisor; every child has a copy.

    ``joins_batches``: whether neighbouring batches may be loaded together, where samples are processed one by one.
    """

    joins_batches: ClassVar[bool]

    def job(self) -> Job:
        """The Job, new in each child; raises whatever making it raises."""

    def samples(self) -> SampleReader: ...

    def results(self, outputs: Any, rows: int, *, own: bool) -> Any:
        """What ``Job.process`` returned for so many rows, as the writer keeps it; raises OutputError where it is not valid.

        ``own``: in memory that the Job does not write to when it is called again, whatever it was in.
        """

    def sample_results(self, outputs: Any) -> Any:
        """What ``Job.process_sample`` returned, in memory of its own; raises OutputError where it is not valid.

        Where batches are joined it is a dict of outputs, as of one sample; else as ``results`` of one row.
        """

    def writer(self, process: int, ask: Callable[[Allocate], Allocated]) -> ResultWriter:
        """Of the process with this index; ``ask`` asks the supervisor, and waits for the answer."""

    def failed(self, row: int, stage: SampleFailureKind, error: BaseException) -> FailedSample:
        """Takes note of a sample that failed for good; ``stage`` is LOAD or PROCESS."""

    def broken(self, error: OSError) -> Broken:
        """Why a child cannot go on that could not read samples or store results."""
