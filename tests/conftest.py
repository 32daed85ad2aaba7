"""What all tests share: no profiles, fixtures for a real Slurm and real speech, signals as in a terminal, time for examples."""

import gc
import os
import re
import signal
import sys
from collections.abc import Generator
from importlib.util import find_spec
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.support.examples import examples

pytest_plugins = ["tests.support.slurm_fixtures", "tests.support.voices"]

# What /etc/launcher.yaml and the like say on the machine at hand is no business of the tests, nor of what they start.
os.environ["LAUNCHER_PROFILE"] = os.devnull
# Nor is it to know their runs: without a folder there is no index.
os.environ["XDG_STATE_HOME"] = os.devnull

# Containers often have Python keep no bytecode: each of the thousands of processes that tests start would compile its imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shell that starts the tests in the background makes them ignore SIGINT, and nohup SIGHUP. All that the tests start would
# inherit that, and what they interrupt would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A loaded machine is slow to make examples and to run them, which is no failure.
settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=examples(100)
)
settings.load_profile("patient")

Report = TypeVar("Report", pytest.CollectReport, pytest.TestReport)
_HAS_TORCH = find_spec("torch") is not None


def _skipped_without_torch(report: Report) -> Report:
    """A new Python comes before a build of torch for it. Until then all else is to be tested with it."""
    if report.failed and not _HAS_TORCH and re.search(r"No module named \\?'torch|needs torch", str(report.longrepr)):
        report.outcome = "skipped"
        report.longrepr = (report.nodeid.partition("::")[0], 0, "Skipped: torch is not installed")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _skipped_without_torch((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _skipped_without_torch((yield))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With --dist loadgroup a module is a group, so that one worker makes its fixtures. What takes long begins first."""
    for item in items:
        if not any(item.iter_markers("xdist_group")):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: not any(map(item.get_closest_marker, ("slurm", "slow"))))


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Modules and tests stay to the end, half a million objects: no collection of garbage is to look at them again."""
    gc.freeze()
