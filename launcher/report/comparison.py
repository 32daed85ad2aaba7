"""Comparison: several runs in one page: how each stands, what it took, and in what their configs differ."""

from collections.abc import Sequence
from pathlib import Path

from launcher.config.differences import written
from launcher.config.origins import dotted, values_of
from launcher.report import charts
from launcher.report.facts import Facts
from launcher.report.page import Section, Table
from launcher.units import clock_time, counted, short_number
from launcher.visible import short_line

# What every run has of its own, and nobody wants to compare.
_OWN = ("name", "folder", "sweep")
_HEADS = (
    "run",
    "state",
    "ok",
    "failed",
    "missing",
    "samples a second",
    "took",
    "CPU-hours",
    "GPU-hours",
    "price",
)


def title_of(many: Sequence[Facts]) -> str:
    return f"{counted(len(many), 'run')}: {', '.join(facts.run.name for facts in many[:3])}{' ...' * (len(many) > 3)}"


def parts(many: Sequence[Facts]) -> list[Section]:
    """Of the page."""
    found = [_runs(many), _differences(many), _failures(many)]
    return [section for section in found if section]


def _runs(many: Sequence[Facts]) -> Section:
    rates = {facts.run.name: facts.status.rate for facts in many if facts.status.rate}
    svg = charts.draw(charts.rates(rates)) if rates else ""
    table = Table(_HEADS, list(map(_row, many)), frozenset(range(2, len(_HEADS))))
    caption = "Samples a second of the newest submission, over the time in which its array tasks ran."
    return Section("runs", "Runs", svg=svg, caption=caption if svg else "", tables=[table])


def _row(facts: Facts) -> list[str]:
    status, bill = facts.status, facts.bill
    took = clock_time(facts.end - facts.begin) if facts.histories else ""
    price = f"{bill.price:,.2f} {bill.currency}".strip() if bill.price is not None else ""
    counts = [f"{number:,}" for number in (status.ok, status.failed, status.missing)]
    rate = short_number(status.rate) if status.rate else ""
    hours = [short_number(bill.cpu_hours), short_number(bill.gpu_hours)]
    return [facts.run.name, str(status.state), *counts, rate, took, *hours, price]


def _differences(many: Sequence[Facts]) -> Section | None:
    """A row for each key that is not the same in all."""
    values = [
        {dotted(path): value for path, value in values_of(facts.plan.config) if path[0] not in _OWN} for facts in many
    ]
    keys = {key: None for one in values for key in one}
    told = ((key, [short_line(written(one[key])) if key in one else "" for one in values]) for key in keys)
    rows = [[key, *shown] for key, shown in told if len(set(shown)) > 1]
    heads = ("key", *(facts.run.name for facts in many))
    return Section("differences", "What differs", tables=[Table(heads, rows)]) if rows else None


def _failures(many: Sequence[Facts]) -> Section | None:
    rows = [
        [facts.run.name, str(group.kind), f"{group.samples:,}", f"{group.shards.count:,}", short_line(group.message)]
        for facts in many
        for group in facts.status.groups[:5]
    ]
    table = Table(("run", "kind", "samples", "shards", "message"), rows, frozenset({2, 3}))
    return Section("failures", "Failures", tables=[table]) if rows else None


def place_of(many: Sequence[Facts]) -> Path:
    """Where the page goes unless somebody says otherwise: beside the runs, if they lie together."""
    folders = {facts.run.path.absolute().parent for facts in many}
    return folders.pop() / "report.html" if len(folders) == 1 else Path("report.html")
