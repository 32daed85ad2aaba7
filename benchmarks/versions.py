"""versions: another checkout beside this one, in turns, in one run: what a change costs, or gains.

    python -m benchmarks.versions ../before [--repetitions 9]

Start-up of commands, the first batch, tiny samples and images; a Markdown table of medians and ratios.
"""

import argparse
import compileall
import math
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest import Contestant, Entry, Outcome, hold, machine, median, table
from benchmarks.images import COUNT, make_images
from benchmarks.node_start import committed
from benchmarks.ours import Ours
from benchmarks.work import Case

_ROOT = Path(__file__).parents[1]
_SHARDS = 64
# Both run in a checkout: a call, its result on stdout; and a run that is done, with its result.
_CALL = "import pickle, sys; call, *given = pickle.load(sys.stdin.buffer); pickle.dump(call(*given), sys.stdout.buffer)"
_BUILD = (
    "import sys; from pathlib import Path; from jobs.gather.gather import gather; "
    "from tests.support.builders import build_run; gather(build_run(Path(sys.argv[1]), range(0, int(sys.argv[2]), 100)))"
)


@dataclass(frozen=True)
class Checkout:
    """A contestant as a checkout has it: that plans, runs and judges, for no other version may know its files."""

    contestant: Contestant
    folder: Path

    def command(self, case: Case, out: Path, late: int) -> list[str]:
        command: list[str] = self._call(self.contestant.command, case, out, late)
        return ["env", f"PYTHONPATH={self.folder}", *command]

    def end(self, out: Path) -> float:
        return float(self._call(self.contestant.end, out))

    def results(self, out: Path) -> np.ndarray | None:
        found: np.ndarray | None = self._call(self.contestant.results, out)
        return found

    def _call(self, call: Callable[..., Any], *given: Any) -> Any:
        # Pickled by name, so it is the other's contestant there.
        asked = pickle.dumps((call, *given))
        python = [sys.executable, "-P", "-c", _CALL]
        done = subprocess.run(
            python, input=asked, env={"PYTHONPATH": str(self.folder)}, capture_output=True, check=True
        )
        return pickle.loads(done.stdout)


@dataclass(frozen=True)
class Command:
    """A command of a checkout's launcher, for its wall clock; ``shards``: about a run of so many, all done."""

    arguments: tuple[str, ...]
    folder: Path
    shards: int = 0

    def command(self, case: Case, out: Path, late: int) -> list[str]:
        about = [str(out / "run")] if self.shards else []
        if self.shards:
            build = [sys.executable, "-P", "-c", _BUILD, *about, str(100 * self.shards + 1)]
            subprocess.run(build, env={"PYTHONPATH": str(self.folder)}, check=True)
        python = ["env", f"PYTHONPATH={self.folder}", sys.executable, "-P"]
        return [*python, "-m", "launcher", *self.arguments, *about]

    def end(self, out: Path) -> float:
        return math.nan

    def results(self, out: Path) -> np.ndarray | None:
        return None


@dataclass(frozen=True)
class Figure:
    """What is measured of one entry, in seconds."""

    text: str
    entry: Entry
    of: Callable[[Outcome], float]


def figures(scratch: Path, folder: Path) -> list[Figure]:
    """Of a checkout."""
    tiny, first = (Case("benchmarks.vectors:Vectors", scratch, count) for count in (1_000_000, 1000))
    images = Case("benchmarks.images:Images", scratch / "images", 4 * COUNT)
    one, two = Checkout(Ours(1, 2), folder), Checkout(Ours(2, 0), folder)
    listing = Command(("--help",), folder), Command(("status",), folder, _SHARDS)
    return [
        Figure("`launcher --help`, s", Entry(listing[0], first), lambda run: run.wall),
        Figure(f"`launcher status`, {_SHARDS} shards, s", Entry(listing[1], first), lambda run: run.wall),
        Figure("first batch of a task, s", Entry(one, first, watch=committed), lambda run: run.seen),
        Figure("1,000,000 tiny samples, s (so us a sample)", Entry(one, tiny), lambda run: run.steady),
        Figure(f"{4 * COUNT:,} JPEGs, 2 processes, s", Entry(two, images), lambda run: run.steady),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of another version")
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    checkouts = {"before": options.other.resolve(), "now": _ROOT}
    for folder in checkouts.values():
        for package in ("launcher", "jobs", "benchmarks"):
            compileall.compile_dir(folder / package, quiet=1)
    print(f"{machine()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        scratch = Path(name)
        (scratch / "images").mkdir()
        make_images(scratch / "images")
        rows = []
        for before, now in zip(*(figures(scratch, folder) for folder in checkouts.values()), strict=True):
            outcomes = hold({"before": before.entry, "now": now.entry}, options.repetitions, scratch / "turns")
            then, since = ([now.of(run) for run in outcomes[version]] for version in checkouts)
            ratio = median(b / a for a, b in zip(then, since, strict=True))
            rows.append([now.text, f"{median(then):.3f}", f"{median(since):.3f}", f"{ratio:.2f}"])
        print(table(("figure", *checkouts, "now / before"), rows))


if __name__ == "__main__":
    main()
