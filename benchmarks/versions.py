"""versions: another checkout beside this one, in turns, in one run: what a change costs, or gains.

    python -m benchmarks.versions ../before [--repetitions 9]

Start-up of commands, the first batch, tiny samples and images; a Markdown table of medians and ratios.
"""

import argparse
import compileall
import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.contest import Contestant, Entry, Outcome, hold, machine, median, table
from benchmarks.images import COUNT, make_images
from benchmarks.node_start import committed
from benchmarks.ours import Ours
from benchmarks.work import Case
from jobs.gather.gather import gather
from tests.support.builders import build_run

_ROOT = Path(__file__).parents[1]
_SHARDS = 64


@dataclass(frozen=True)
class Checkout:
    """A contestant that runs the code of a checkout; what it computes is planned, and judged, by this one."""

    contestant: Contestant
    folder: Path

    def command(self, case: Case, out: Path, late: int) -> list[str]:
        return ["env", f"PYTHONPATH={self.folder}", *self.contestant.command(case, out, late)]

    def end(self, out: Path) -> float:
        return self.contestant.end(out)

    def results(self, out: Path) -> np.ndarray | None:
        return self.contestant.results(out)


@dataclass(frozen=True)
class Command:
    """A command of the launcher, for its wall clock."""

    arguments: tuple[str, ...]

    def command(self, case: Case, out: Path, late: int) -> list[str]:
        return [sys.executable, "-P", "-m", "launcher", *self.arguments]

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


def figures(scratch: Path) -> list[Figure]:
    """Without code of a checkout yet."""
    images = scratch / "images"
    images.mkdir()
    make_images(images)
    tiny, first = (Case("benchmarks.vectors:Vectors", scratch, count) for count in (1_000_000, 1000))
    run = build_run(scratch / "status", range(0, 100 * _SHARDS + 1, 100))
    gather(run)
    return [
        Figure("`launcher --help`, s", Entry(Command(("--help",)), first), lambda run: run.wall),
        Figure(
            f"`launcher status`, {_SHARDS} shards, s",
            Entry(Command(("status", str(run.path))), first),
            lambda run: run.wall,
        ),
        Figure("first batch of a task, s", Entry(Ours(1, 2), first, watch=committed), lambda run: run.seen),
        Figure("1,000,000 tiny samples, s (so us a sample)", Entry(Ours(1, 2), tiny), lambda run: run.steady),
        Figure(
            f"{4 * COUNT:,} JPEGs, 2 processes, s",
            Entry(Ours(2, 0), Case("benchmarks.images:Images", images, 4 * COUNT)),
            lambda run: run.steady,
        ),
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
        rows = []
        for figure in figures(Path(name)):
            entries = {
                version: Entry(Checkout(figure.entry.contestant, folder), figure.entry.case, watch=figure.entry.watch)
                for version, folder in checkouts.items()
            }
            outcomes = hold(entries, options.repetitions, Path(name) / "turns")
            before, now = ([figure.of(run) for run in outcomes[version]] for version in checkouts)
            ratio = median(b / a for a, b in zip(before, now, strict=True))
            rows.append([figure.text, f"{median(before):.3f}", f"{median(now):.3f}", f"{ratio:.2f}"])
        print(table(("figure", *checkouts, "now / before"), rows))


if __name__ == "__main__":
    main()
