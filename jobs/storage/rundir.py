"""RunDir: every path of a run. Nobody else joins paths; login node and compute node both use it."""

import itertools
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.storage.files import exists, fsync_folder, is_published, refresh_names


@dataclass(frozen=True)
class RunDir:
    """The files of one run below ``path``; making the object touches nothing on disk."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def argument(self) -> str:
        """The run as RUN of a command, quoted for a shell."""
        return shlex.quote(str(self.path))

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    def grown_plan(self, generation: int) -> Path:
        """The plan after it grew for the first time (generation 2), the second ...; made once, as each of them."""
        return self.path / f"plan-{generation}.json"

    @property
    def given(self) -> Path:
        """What a script or notebook gave to the run: modules and samples, in files that are named by their content."""
        return self.path / "given"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.arrow"

    def manifest_of(self, name: str | None) -> Path:
        """That of a plan which has grown: ``name`` until it takes the place of the one before, a moment later."""
        return on_its_way if name and exists(on_its_way := self.path / Path(name).name) else self.manifest

    @property
    def result(self) -> Path:
        return self.path / "result.h5"

    def result_of(self, manifest: str | None, chosen: Path | None = None) -> Path:
        """Where the result of one of several manifests goes, or of the only one (None).

        ``chosen`` is what the user wants instead of the run directory's; in it {manifest} stands for the name.
        """
        if manifest is None:
            return chosen or self.result
        return Path(str(chosen or self.path / "result-{manifest}.h5").replace("{manifest}", manifest))

    @property
    def outgoing(self) -> Path:
        """Results on their way to a store."""
        return self.path / "outgoing"

    def outgoing_to(self, url: str) -> Path:
        """Where one is made that goes to this URL, by the same name; {manifest} in that stays."""
        return self.outgoing / url.partition("://")[2]

    def delivered(self, manifest: str | None) -> Path:
        """That the result of one of several manifests, or of the only one (None), is in a store, and as which objects."""
        return self.path / (f"delivered-{manifest}.json" if manifest else "delivered.json")

    @property
    def cleaned(self) -> Path:
        """That the data of attempts are gone, or about to go: the result has them, and nothing else."""
        return self.path / "cleaned.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def submissions(self) -> Path:
        return self.path / "submissions"

    @property
    def attempts(self) -> Path:
        """A journal and data files of each attempt; nobody writes what another may write."""
        return self.path / "attempts"

    @property
    def layout(self) -> Path:
        """The outputs of the run, written once, by the attempt that has the first batch."""
        return self.path / "layout.json"

    @property
    def layouts(self) -> Iterator[Path]:
        """layout.json, and files that say more where that one could not yet, the first one first. Without end."""
        yield self.layout
        for number in itertools.count(1):
            yield self.path / f"layout-{number}.json"

    @property
    def old_shards(self) -> Path:
        """Where versions before attempts/ kept what they computed."""
        return self.path / "shards"

    @property
    def downstream(self) -> Path:
        """A file for each run that waits for this one to be complete."""
        return self.path / "downstream"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def submission(self, number: int) -> Path:
        return self.submissions / f"{number:04d}.json"

    def script(self, number: int) -> Path:
        return self.submissions / f"{number:04d}.sbatch"

    def finalize_script(self, number: int) -> Path:
        """The script of the Slurm job that ends a submission, and others with it."""
        return self.submissions / f"{number:04d}.finalize.sbatch"

    def ending(self, number: int) -> Path:
        """Which process ends a submission now; touched while that lives. Only a scheduler's finalize job writes it."""
        return self.submissions / f"{number:04d}.ending"

    def attendant(self, number: int) -> Path:
        """Which process ends the run's submissions in the place of a scheduler's job: of several files, the last one tells."""
        return self.submissions / f"attendant.{number}"

    def outcome(self, number: int) -> Path:
        """How a submission ended; written last."""
        return self.submissions / f"{number:04d}.outcome"

    def notice(self, number: int) -> Path:
        """Who was told that the run had ended, when this submission was its last."""
        return self.submissions / f"{number:04d}.notice"

    def submission_log(self, number: int) -> Path:
        """What the executor says of a submission, and a batch script before the array task opens its own log."""
        return self.submissions / f"{number:04d}.log"

    def submission_numbers(self) -> list[int]:
        """Numbers of the submissions written so far, ascending."""
        return [number for number in self.taken_numbers() if self._is_written(number)]

    def _is_written(self, number: int) -> bool:
        """Also what is empty by now, and is damaged: what was started has left more than a name, and a folder for claims."""
        names = {self.submission(number), self.claims(number)}
        return is_published(self.submission(number)) or any(
            path not in names for path in self.submissions.glob(f"{number:04d}.*")
        )

    def taken_numbers(self) -> list[int]:
        """The same with those of which there is only the name: whoever made it was killed before there was more."""
        refresh_names(self.submissions)
        named = ((path, int(path.stem)) for path in self.submissions.glob("[0-9]*.json") if path.stem.isdecimal())
        # Not what somebody, or a program that syncs folders, has put beside them: "0001 (copy).json", "1.json".
        found = sorted(number for path, number in named if path == self.submission(number))
        # A network file system may remember a listing from before the newest were there; asked for by name, it looks.
        following = itertools.count(found[-1] + 1 if found else 1)
        return found + list(itertools.takewhile(lambda number: exists(self.submission(number)), following))

    def claims(self, number: int) -> Path:
        """Which attempt works on what of a submission; there until it has ended."""
        return self.submissions / f"{number:04d}.claims"

    def journal(self, attempt: str) -> Path:
        return self.attempts / f"{attempt}.journal"

    def data(self, attempt: str, process: int) -> Path:
        """What a device process of an attempt stores."""
        return self.attempts / f"{attempt}.{process}.data"

    def log(self, submission: int, worker: int) -> Path:
        """The text of an array task (of one of its nodes where it has several), all its attempts."""
        return self.logs / f"{submission:04d}-{worker:05d}.log"

    def make(self) -> None:
        """Makes the run's folders, to stay: no crash of the machine leaves a plan and takes them."""
        for folder in (self.submissions, self.attempts, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        fsync_folder(self.path)
