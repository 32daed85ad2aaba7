"""Fixtures for tests against a real Slurm; conftest.py loads them as a plugin.

A cluster takes about 5 s to start and is too heavy to have twice: mark the modules that use it with
`pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]` and run pytest-xdist with
`--dist loadgroup`, so that one worker has it.
Where Slurm cannot run its tests are skipped, with a red section at the end; where CI is set they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm_cluster import SlurmCluster, slurm_missing

SKIPPED = "no Slurm for its tests"


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A running cluster, shared by all tests of the session."""
    if missing := slurm_missing():
        message = f"{SKIPPED}: {missing}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture
def clean_slurm(slurm: SlurmCluster) -> Iterator[SlurmCluster]:
    """The shared cluster, reset after the test: no job, every node up, no limit."""
    yield slurm
    slurm.reset()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says in red that tests were skipped for want of Slurm, and why."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in reports if SKIPPED in str(report.longrepr)]
    if reasons:
        terminalreporter.section("SLURM TESTS SKIPPED", red=True, bold=True)
        terminalreporter.line(f"{len(reasons)} tests. {reasons[0]}", red=True)
