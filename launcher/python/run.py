"""Run: a planned run as an object: what the commands do with one, by the same code."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.errors import RunError
from jobs.kinds import RunState
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from launcher.config.config import Config
from launcher.config.origins import dotted, values_of
from launcher.config.yaml_lines import value_text
from launcher.plan.guard import Way
from launcher.python.notebook_view import NotebookView, is_notebook
from launcher.python.plain import plain_or_refuse
from launcher.runs.find import reference
from launcher.runs.log_choice import LogChoice
from launcher.runs.logs import read_logs
from launcher.runs.sample_errors import SampleError, read_errors
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from launcher.status.views import Looks, View, make_view
from launcher.submit.attend import attend, is_attended
from launcher.submit.cancel import stop_run
from launcher.submit.result import gather_result
from launcher.submit.start import Started, go_on, start, start_again

if TYPE_CHECKING:
    from jobs.gather.gather_report import GatherReport
    from launcher.results import Results
    from launcher.tryout.tryout import Tried


class Run:
    """A run in its directory, which knows all of it: any number of objects may be of the same run.

    ``notes``: what its planning had to tell. ``settings``: those that it was planned with now, for what is submitted first;
    later ones are those of the submission before. Errors are those of ``jobs.errors``, whose text says what to do.
    """

    def __init__(self, directory: RunDir, notes: tuple[str, ...] = (), settings: Config | None = None) -> None:
        self._directory = directory
        self._settings = settings
        self.notes = notes

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._directory.path

    @property
    def name(self) -> str:
        return self._directory.name

    @property
    def config(self) -> Path:
        """The config of the run, with all that holds for it: ``launcher run`` of it, or of a copy, is the same run."""
        return self._directory.config

    def submit(self, *, keep_results: bool = False, fresh: bool = False) -> Started:
        """Submits what is not done, and returns at once; what it did is its text, and in its fields."""
        return self._started(
            start(*go_on(self._directory, Way.of(keep_results=keep_results, fresh=fresh), (), self._settings))
        )

    def rerun(
        self,
        *,
        shards: str | int | Iterable[int] | None = None,
        tasks: int | None = None,
        mem: str | None = None,
        time: str | None = None,
        keep_results: bool = False,
        fresh: bool = False,
        **sections: Any,
    ) -> Started:
        """A new submission of what is not done; of ``shards`` that are named ("3,7-9", or numbers), failed samples too.

        ``sections`` are keys of a config that are others from now on, such as node={"workers": 4}.
        """
        named = shards if isinstance(shards, str) or shards is None else _listed(shards)
        overrides = [f"{dotted(path)}={value_text(value)}" for path, value in values_of(_plain(sections))]
        way, limits = Way.of(keep_results=keep_results, fresh=fresh), {"memory": mem, "time": time}
        again = start_again(self._directory, way, overrides, shards=named, tasks=tasks, config=self._settings, **limits)
        return self._started(again)

    def _started(self, started: Started) -> Started:
        if started.submissions:
            self._settings = None
        return started

    def wait(self, timeout: float | None = None, *, progress: bool = True) -> Status:
        """Follows the run until it does not go on by itself, with a progress view; returns its last status.

        Raises TimeoutError after ``timeout`` seconds, RunError where it was never submitted. Interrupted, the run goes on.
        A run without a finalize job is ended by this process, as by `launcher run`, and ``timeout`` does not count.
        """
        if is_attended(self._directory):
            return self._attended(progress)
        looks, deadline = self._looks(), _deadline(timeout)
        with self._view(progress) as view:
            while True:
                status = looks.look()
                view.show(status)
                if looks.is_over(status):
                    return status
                time.sleep(self._pause(looks, deadline))

    async def wait_async(self, timeout: float | None = None) -> Status:
        """The same in an event loop, without a view: ``await asyncio.gather(*(run.wait_async() for run in runs))``."""
        if is_attended(self._directory):
            return await asyncio.to_thread(self._attended, False)
        looks, deadline = self._looks(), _deadline(timeout)
        while True:
            status = await asyncio.to_thread(looks.look)
            if looks.is_over(status):
                return status
            await asyncio.sleep(self._pause(looks, deadline))

    def status(self, *, live: bool = False) -> Status:
        """Where the run stands, by its files alone; ``live`` asks the scheduler too, once."""
        return StatusReader(self._directory).read(live=live)

    def errors(self, shard: int | None = None) -> list[SampleError]:
        """Each failed sample: id, row, kind, message, attempts."""
        plan = Plan.read(self._directory.plan)
        if shard is not None:
            plan.check_shard(shard, self._directory)
        return list(read_errors(self._directory, plan, shard))

    def logs(self, shard: int | None = None, *, failed: bool = False, tail: int | None = None) -> str:
        """The logs of the array tasks: all, of those that worked at a shard, or at the shards that failed.

        A line begins with the time and the process that says it. ``tail``: only the last lines of each log.
        """
        choice = LogChoice.of(self._directory, Plan.read(self._directory.plan), shard, failed=failed)
        return b"".join(piece for _, piece in read_logs(choice, tail=tail)).decode(errors="replace")

    def report(
        self,
        output: str | PathLike[str] | None = None,
        *,
        cpu_price: float | None = None,
        gpu_price: float | None = None,
        currency: str = "",
    ) -> Path:
        """Writes what it did and took, with plots, as one HTML file; returns its path. Prices are those of an hour."""
        from launcher.report.bill import Prices
        from launcher.report.report import write_report

        prices = Prices(cpu_price, gpu_price, currency)
        return write_report(self._directory, Path(output) if output else None, prices)

    def cancel(self) -> list[int]:
        """Stops what goes on of the run; what is done stays. Returns the numbers of the submissions that it stopped."""
        return stop_run(self._directory)[0]

    def gather(self, *, allow_missing: bool = False) -> "GatherReport":
        """Checks every block and writes the result."""
        return gather_result(self._directory, allow_missing=allow_missing)

    def results(
        self, *, manifest: str | None = None, allow_incomplete: bool = False, in_place: bool = False
    ) -> "Results":
        """What the run has computed, open for reading: see ``launcher.results.open``."""
        from launcher import results

        return results.open(self.path, manifest=manifest, allow_incomplete=allow_incomplete, in_place=in_place)

    def try_(
        self, samples: int | None = None, *, shard: int | None = None, row: int | None = None, debug: bool = False
    ) -> "Tried":
        """Runs a few samples in this process and tells of each stage: its time, what it returned, its traceback.

        The first ones (3), those of a shard, or those from a row on (1). ``debug``: pdb where something raises.
        """
        from launcher.submit.settings import current_config
        from launcher.tryout.tryout import Chosen, try_run

        run, plan = self._directory, Plan.read(self._directory.plan)
        config, chosen = self._settings or current_config(run, plan), Chosen(samples, shard, row)
        return try_run(run, plan, config, chosen, lambda stage: print(*stage.lines, sep="\n"), debug=debug)

    def _attended(self, progress: bool) -> Status:
        return attend(self._directory, self._view(progress), lambda line: print(line, file=sys.stderr))

    def _looks(self) -> Looks:
        looks = Looks(StatusReader(self._directory), live=True)
        if looks.is_over(status := looks.look()) and status.state is RunState.PLANNED:
            name = reference(self._directory)
            raise RunError(
                f"{self.path}: is planned, and nothing of it was submitted: run.submit(), or launcher submit {name}"
            )
        return looks

    def _pause(self, looks: Looks, deadline: float) -> float:
        """Raises TimeoutError at the deadline."""
        if (left := deadline - time.monotonic()) <= 0:
            raise TimeoutError(
                f"{self.path}: it goes on; follow it: launcher status {reference(self._directory)} --watch"
            )
        return min(looks.pause(), left)

    def _view(self, progress: bool) -> View:
        if not progress:
            return _Nothing()
        return NotebookView() if is_notebook() else make_view(sys.stdout)


class _Nothing(contextlib.AbstractContextManager["_Nothing"]):
    """A view of nothing."""

    def show(self, status: Status) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        return None


def _listed(shards: int | Iterable[int]) -> str:
    return str(Spans.of_numbers([shards] if isinstance(shards, int) else shards))


def _plain(sections: Mapping[str, Any]) -> dict[str, Any]:
    return {key: plain_or_refuse(f"run.rerun: {key}", value) for key, value in sections.items()}


def _deadline(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout
