"""Fixtures for tests against a real Slurm; conftest.py loads them as a plugin.

`slurm` is a usual cluster, shared by all tests of a session; `site` brings up one that is set up as elsewhere:

    def test_of_a_site(site: BringUp, tmp_path: Path) -> None:
        cluster = site("hidden-partition")

A cluster takes 2 s to start, with accounting 5 s, and is too heavy for every worker to have one: mark the modules that use
one with `pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]`, or the group "sites", and run pytest-xdist with
`--dist loadgroup`. Each group has a cluster of its own; "interruptions", "handover" and "failures" are groups since "slurm"
would take far longer than all the rest with them.
Where Slurm cannot run its tests are skipped, with a red section at the end; where CI is set they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import pytest

from launcher.slurm.limits import forget
from tests.slurm_cluster import SlurmCluster, slurm_missing
from tests.support.slurm_conf import USUAL, Site
from tests.support.slurm_daemons import ClusterError
from tests.support.slurm_sites import SITES

SKIPPED = "no Slurm for its tests"


def _require_slurm(site: Site) -> None:
    if missing := slurm_missing(site):
        message = f"{SKIPPED}: {missing}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """A running cluster, shared by all tests of the session."""
    _require_slurm(USUAL)
    with SlurmCluster() as cluster:
        yield cluster


@pytest.fixture
def clean_slurm(slurm: SlurmCluster) -> Iterator[SlurmCluster]:
    """The shared cluster, reset after the test: no job, every node up, no limit."""
    yield slurm
    slurm.reset()


class BringUp(Protocol):
    """Brings up the site of that name (slurm_sites.py), with more lines of slurm.conf (MaxArraySize=4) over its own.

    This process, and what it starts, are then on its login node. At the end of the test it is empty again, or gone.
    """

    def __call__(self, name: str, *lines: str) -> SlurmCluster: ...


class _LastSite:
    """The site of the last test that had one: the next test may want the same."""

    def __init__(self) -> None:
        self._site: Site | None = None
        self._cluster: SlurmCluster | None = None

    def become(self, site: Site) -> SlurmCluster:
        if self._cluster is None or site != self._site:
            self.stop()
            _require_slurm(site)
            self._site, self._cluster = site, _started(site)
        return self._cluster

    def reset(self) -> None:
        """A site whose accounting was changed is not used again."""
        if self._cluster is None:
            return
        if self._cluster.services.is_changed:
            self.stop()
        else:
            self._cluster.reset()

    def stop(self) -> None:
        if self._cluster:
            self._cluster.stop()
        self._cluster = None


def _started(site: Site) -> SlurmCluster:
    """Another try where it does not come up: somebody may have taken a port meanwhile."""
    with suppress(ClusterError):
        cluster = SlurmCluster(site=site)
        cluster.start()
        return cluster
    cluster = SlurmCluster(site=site)
    cluster.start()
    return cluster


@pytest.fixture(scope="session")
def _last_site() -> Iterator[_LastSite]:
    last = _LastSite()
    yield last
    last.stop()


@pytest.fixture
def site(_last_site: _LastSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[BringUp]:
    """A Slurm that is set up as elsewhere; see BringUp."""

    def bring_up(name: str, *lines: str) -> SlurmCluster:
        chosen = replace(SITES[name], lines=(*SITES[name].lines, *lines))
        cluster = _last_site.become(chosen)
        for variable in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(variable, cluster.env[variable])
        forget()  # what another one allows
        return cluster

    yield bring_up
    _last_site.reset()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says in red that tests were skipped for want of Slurm, and why."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in reports if SKIPPED in str(report.longrepr)]
    if reasons:
        terminalreporter.section("SLURM TESTS SKIPPED", red=True, bold=True)
        terminalreporter.line(f"{len(reasons)} tests. {reasons[0]}", red=True)
