"""docs/reliability.md: each promise names tests that are there."""

import re

from tests.support.launcher_runs import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_each_promise_names_its_tests() -> None:
    promises = PAGE.partition("## Promises")[2].partition("\n## ")[0]
    rows = [
        line for line in promises.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| whatever"))
    ]
    for row in rows:
        named = re.findall(r"`(tests/[\w/.]+)`", row)
        assert named, row
        assert all((ROOT / path).is_file() for path in named), row
    told = set(re.findall(r"`tests/chaos/(test_\w+\.py)`", PAGE))
    assert told == {path.name for path in (ROOT / "tests" / "chaos").glob("test_*.py")}
