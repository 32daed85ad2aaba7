"""docs/sites.md: each setting names the tests that show it, and each test of a site is named."""

import re

from tests.support.launcher_runs import ROOT

PAGE = (ROOT / "docs" / "sites.md").read_text()


def test_each_setting_names_tests_that_are_there() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| setting"))]
    for row in rows:
        named = re.findall(r"`(tests/[\w/.]+\.py)`", row)
        assert named, row
        assert all((ROOT / path).is_file() for path in named), row


def test_each_test_of_a_site_is_named() -> None:
    told = set(re.findall(r"`tests/sites/(test_\w+\.py)`", PAGE))
    assert told == {path.name for path in (ROOT / "tests" / "sites").glob("test_*.py")}
