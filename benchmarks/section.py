"""Section: what a part of node.py found: a title, a sentence, a table, and its goals with what became of them.

Made by the parts, printed by node.py; ``Bench`` is what a part gets.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contest import Entry, Outcomes, hold, median, table
from benchmarks.ours import Ours
from benchmarks.plots import Plot


@dataclass(frozen=True)
class Bench:
    """How to measure: ``repetitions`` where the user says so, ``largest`` number of samples.

    ``settings`` are those of ours in the part images, the recommended one first.
    """

    scratch: Path
    repetitions: int | None
    settings: tuple[Ours, ...]
    largest: int

    def hold(self, entries: dict[str, Entry], repetitions: int) -> Outcomes:
        """A contest; a part's own number of repetitions counts where the user gave none."""
        return hold(entries, self.repetitions or repetitions, self.scratch)

    def data(self, name: str, make: Callable[[Path], None] | None = None) -> Path:
        """The folder of a work's data, made once."""
        folder = self.scratch / name
        if not folder.exists():
            folder.mkdir(parents=True)
            if make:
                make(folder)
        return folder


@dataclass(frozen=True)
class Goal:
    """``text`` says what is wanted, ``value`` is what was measured, as shown."""

    text: str
    value: str
    met: bool

    def row(self) -> list[str]:
        return [self.text, self.value, "yes" if self.met else "no"]


def at_least(text: str, value: float, bound: float, unit: str = "") -> Goal:
    return Goal(f"{text}: at least {bound:g}{unit}", f"{value:.3g}{unit}", value >= bound)


def at_most(text: str, value: float, bound: float, unit: str = "") -> Goal:
    return Goal(f"{text}: at most {bound:g}{unit}", f"{value:.3g}{unit}", value <= bound)


@dataclass(frozen=True)
class Section:
    """Markdown to be, and plots."""

    title: str
    text: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    goals: Sequence[Goal]
    plots: Sequence[Plot] = field(default=())

    def markdown(self) -> str:
        goals = table(("goal", "measured", "met"), (goal.row() for goal in self.goals))
        return f"### {self.title}\n\n{self.text}\n\n{table(self.head, self.rows)}\n\n{goals}\n"


def steady(outcomes: Outcomes, name: str) -> float:
    """The median of the seconds from the gate to the last result."""
    return median(outcome.steady for outcome in outcomes[name])
