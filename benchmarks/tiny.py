"""tiny: 100,000 samples of 16 floats and hardly any work: what each design costs a sample.

``python -m benchmarks.tiny`` prints a Markdown table.
"""

import tempfile
from pathlib import Path

from benchmarks.contest import REPETITIONS, Outcome, hold, machine, median, ours, peer, table
from benchmarks.vectors import COUNT, make_vectors

_OURS = "ours, 1 process x 2 workers"
_CONTESTANTS = {
    "the bare work, one process": peer("bare"),
    _OURS: ours(1, 2),
    "ours, 2 processes x 0 workers": ours(2, 0),
    "DataLoader, 2 workers": peer("loader"),
    "a queue item per sample, 2 loaders": peer("queue"),
}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        folder = Path(scratch) / "vectors"
        folder.mkdir()
        make_vectors(folder)
        outcomes = hold(_CONTESTANTS, "benchmarks.vectors:Vectors", folder)
    print(f"{machine()}\n")
    print(f"{COUNT:,} samples in batches of 1,000, medians of {REPETITIONS} repetitions in turns.\n")
    head = ("design", "samples/s, steady", "times as fast as ours with workers", "whole run, s")
    print(table(head, (_row(name, runs, outcomes[_OURS]) for name, runs in outcomes.items())))


def _row(name: str, outcomes: list[Outcome], reference: list[Outcome]) -> list[str]:
    rate = COUNT / median(outcome.steady for outcome in outcomes)
    ratio = median(ours.steady / other.steady for ours, other in zip(reference, outcomes, strict=True))
    wall = median(outcome.wall for outcome in outcomes)
    return [name, f"{rate:,.0f}", f"{ratio:.2f}", f"{wall:.2f}"]


if __name__ == "__main__":
    main()
