"""Report: all that the files of a run tell of it, as one HTML file; no scheduler is asked, and each journal is read once."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from jobs import extras
from jobs.errors import InputError
from jobs.storage.files import write_bytes
from jobs.storage.rundir import RunDir
from launcher.report import comparison, sections
from launcher.report.bill import Prices
from launcher.report.facts import Facts
from launcher.report.page import Section, render
from launcher.runs.history import read_histories
from launcher.status.reader import StatusReader
from launcher.target import check_file
from launcher.visible import visible


def write_report(run: RunDir, path: Path | None = None, prices: Prices | None = None) -> Path:
    """Writes it, whole, to ``path`` or into the run directory; returns where it is. Raises InputError."""
    _check_packages()
    facts = read_facts(run, prices or Prices())
    return _write(path or run.report, html_of(facts))


def write_comparison(runs: Sequence[RunDir], path: Path | None = None, prices: Prices | None = None) -> Path:
    """The same for several runs, in one page, to ``path`` or beside them."""
    _check_packages()
    many = [read_facts(run, prices or Prices()) for run in runs]
    folder = f"{many[0].run.path.absolute().parent} · {_made(many[0])}"
    html = render(comparison.title_of(many), "", folder, comparison.parts(many))
    return _write(path or comparison.place_of(many), html)


def _check_packages() -> None:
    if missing := extras.missing("report"):
        raise InputError(f"a report needs {' and '.join(missing)}: {extras.how_to_install('report')}")


def _write(target: Path, html: str) -> Path:
    check_file(target, "report.html")
    # Names of files may be no UTF-8, as few as there are.
    write_bytes(target, visible(html).encode(errors="backslashreplace"))
    return target


def read_facts(run: RunDir, prices: Prices) -> Facts:
    """All that a report is made of."""
    reader = StatusReader(run)
    status = reader.read()
    return Facts(run, reader.plan, status, read_histories(status.shards.attempts), prices, time.time())


def html_of(facts: Facts) -> str:
    return render(facts.run.name, str(facts.status.state), _headline(facts), list(_sections(facts)))


def _headline(facts: Facts) -> str:
    return f"{facts.run.path.absolute()} · {_made(facts)}{'; it goes on' if facts.status.shards.live else ''}"


def _made(facts: Facts) -> str:
    return f"as its files stood at {time.strftime('%Y-%m-%d %H:%M:%S %Z', time.localtime(facts.now))}"


def _sections(facts: Facts) -> Iterator[Section]:
    makers = (
        sections.outcome,
        sections.failures,
        sections.over_time,
        sections.workers,
        sections.shards,
        sections.durations,
        sections.resources,
        sections.nodes,
        sections.submissions,
        sections.provenance,
    )
    found: Sequence[Section | None] = [make(facts) for make in makers]
    return (section for section in found if section)
