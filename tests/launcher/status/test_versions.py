"""Versions that attempts had and the plan had not."""

from pathlib import Path

import pytest

from jobs.storage.attempts import Attempt
from jobs.storage.beats import Beat
from jobs.storage.records import AttemptStart
from launcher.status.versions import other_versions

PLANNED = {"python": "3.11.7", "torch": "2.4.0+cpu", "numpy": "2.1.0", "launcher": "0.2.0", "hostname": "login1"}


def attempt(**versions: str) -> Attempt:
    return Attempt("a", Path("a"), AttemptStart(1, 0, 0, 0.0, "n1", {}, versions=versions), Beat(1, 0.0))


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        (PLANNED, ()),
        ({"python": "3.11.2", "torch": "2.4.0"}, ()),
        ({"python": "3.12.1"}, ("python 3.12.1 (planned with 3.11.7)",)),
        ({"torch": "2.4.0+cu121"}, ("torch 2.4.0+cu121 (planned with 2.4.0+cpu)",)),
        (
            {"torch": "2.5.0", "numpy": "1.26.4"},
            ("numpy 1.26.4 (planned with 2.1.0)", "torch 2.5.0 (planned with 2.4.0+cpu)"),
        ),
        ({"launcher": "0.3.0", "jax": "1.0"}, ("launcher 0.3.0 (planned with 0.2.0)",)),
    ],
)
def test_what_computes_otherwise_than_what_planned_is_told(versions: dict[str, str], told: tuple[str, ...]) -> None:
    assert (
        other_versions(PLANNED, [attempt(**PLANNED), attempt(**versions), Attempt("b", Path("b"), None, Beat(0, 0.0))])
        == told
    )


def test_all_versions_of_a_package_are_told_once() -> None:
    attempts = [attempt(torch=version) for version in ("2.6", "2.5", "2.6")]
    assert other_versions(PLANNED, attempts) == ("torch 2.5 and 2.6 (planned with 2.4.0+cpu)",)
