"""RunDir: every path of a run. Nobody else joins paths; login node and compute node both use it."""

import re
from dataclasses import dataclass
from pathlib import Path

_SHARD_FILE = re.compile(r"(\d{6,})(\.part\.h5|\.h5|\.journal)")


@dataclass(frozen=True)
class ShardListing:
    """What one listing of ``shards/`` tells: shard numbers by the files that they have."""

    done: frozenset[int]
    part: frozenset[int]
    journal: frozenset[int]


@dataclass(frozen=True)
class RunDir:
    """The files of one run below ``path``; making the object touches nothing on disk."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.arrow"

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
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def submissions(self) -> Path:
        return self.path / "submissions"

    @property
    def shards(self) -> Path:
        return self.path / "shards"

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

    def outcome(self, number: int) -> Path:
        """How a submission ended; written last."""
        return self.submissions / f"{number:04d}.outcome"

    def submission_log(self, number: int) -> Path:
        """What the executor says of a submission, and a batch script before the array task opens its own log."""
        return self.submissions / f"{number:04d}.log"

    def submission_numbers(self) -> list[int]:
        """Numbers of the submissions written so far, ascending."""
        return sorted(int(path.stem) for path in self.submissions.glob("[0-9]*.json"))

    def shard_part(self, shard: int) -> Path:
        return self.shards / f"{shard:06d}.part.h5"

    def shard_done(self, shard: int) -> Path:
        return self.shards / f"{shard:06d}.h5"

    def journal(self, shard: int) -> Path:
        return self.shards / f"{shard:06d}.journal"

    def values(self, shard: int, output: str) -> Path:
        """The values of one variable-length output of a shard."""
        return self.shards / f"{shard:06d}.{output}.values"

    def log(self, shard: int) -> Path:
        return self.logs / f"{shard:06d}.log"

    def make(self) -> None:
        """Makes the run's folders."""
        for folder in (self.submissions, self.shards, self.logs):
            folder.mkdir(parents=True, exist_ok=True)

    def list_shards(self) -> ShardListing:
        """One directory listing: which shards are done, begun, or have a journal."""
        found: dict[str, set[int]] = {".h5": set(), ".part.h5": set(), ".journal": set()}
        for entry in self.shards.iterdir() if self.shards.is_dir() else ():
            match = _SHARD_FILE.fullmatch(entry.name)
            if match:
                found[match[2]].add(int(match[1]))
        return ShardListing(*(frozenset(found[key]) for key in (".h5", ".part.h5", ".journal")))
