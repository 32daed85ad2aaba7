"""node: 2,000 JPEGs, decoded and embedded by a small network on the CPU: how much of the machine each design uses.

``python -m benchmarks.node`` prints a Markdown table. Share of the ideal = (CPU seconds of the bare work / cores) /
seconds; the bare work is measured in every repetition, in one warm process.
"""

import tempfile
from pathlib import Path

from benchmarks.contest import REPETITIONS, Outcome, cores, hold, machine, median, ours, peer, table
from benchmarks.images import COUNT, make_images

_CONTESTANTS = {
    "the bare work, one process": peer("bare"),
    "ours, 2 processes x 0 workers": ours(2, 0),
    "ours, 1 process x 2 workers": ours(1, 2),
    "array_split over 2 processes": peer("array_split"),
    "DataLoader, 2 workers": peer("loader"),
    "a queue item per sample, 2 loaders": peer("queue"),
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        folder = Path(scratch) / "images"
        folder.mkdir()
        make_images(folder)
        outcomes = hold(_CONTESTANTS, "benchmarks.images:Images", folder)
    bare, *others = outcomes
    ideals = [outcome.cpu / cores() for outcome in outcomes[bare]]
    print(f"{machine()}\n\n{COUNT:,} images, medians of {REPETITIONS} repetitions in turns. {_bare(outcomes[bare])}\n")
    head = ("design", "images/s, steady", "share of the ideal, steady", "(least to most)", "whole run, s")
    print(table(head, (_row(name, outcomes[name], ideals) for name in others)))


def _bare(outcomes: list[Outcome]) -> str:
    cpu = median(outcome.cpu for outcome in outcomes)
    had = min(outcome.cpu / outcome.steady for outcome in outcomes)
    return f"Bare work: {cpu:.2f} CPU seconds; other programs left its process at least {had:.0%} of a core."


def _row(name: str, outcomes: list[Outcome], ideals: list[float]) -> list[str]:
    shares = [ideal / outcome.steady for ideal, outcome in zip(ideals, outcomes, strict=True)]
    rate = COUNT / median(outcome.steady for outcome in outcomes)
    wall = median(outcome.wall for outcome in outcomes)
    return [name, f"{rate:,.0f}", f"{median(shares):.2f}", f"{min(shares):.2f} to {max(shares):.2f}", f"{wall:.2f}"]


if __name__ == "__main__":
    main()
