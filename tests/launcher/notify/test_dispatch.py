"""Deliveries that cannot be made are told when a run is planned."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from launcher.notify.dispatch import doubts
from tests.support.launcher_runs import document, launcher, write_config


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (None, ""),
        (("true", "and", "more"), ""),
        (("/bin/true",), ""),
        (("./tell.sh",), ""),
        (("./tell",), "there is no program ./tell here"),
        (("no-such-program", "x"), "there is no program no-such-program here"),
        ("https://example.org/x", ""),
        ("https://example.org/$HOME", ""),
        ("$NO_SUCH_HOOK", "a variable of its URL is not set here"),
    ],
)
def test_what_is_missing_here_is_told(tmp_path: Path, target: str | Sequence[str] | None, said: str) -> None:
    (tmp_path / "tell.sh").touch(mode=0o755)
    found = doubts(target, tmp_path)
    assert len(found) == bool(said)
    assert said in "".join(found)


def test_plan_tells_it(tmp_path: Path) -> None:
    config = write_config(tmp_path, notify=["no-such-program"])
    done = launcher(tmp_path, "plan", config.name, "--json")
    assert done.returncode == 0
    assert document(done)["remarks"] == [
        "notify: there is no program no-such-program here; it has to be where the run ends"
    ]
