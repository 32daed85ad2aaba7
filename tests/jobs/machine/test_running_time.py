"""A clock that stands still while its process is stopped."""

import time

import pytest

from jobs.machine.running_time import RunningTime


def test_it_goes_on_with_each_look_by_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = RunningTime()
    for step, expected in ((0.5, 0.5), (0.25, 0.75), (3600.0, 1.75), (0.0, 1.75), (0.5, 2.25)):
        now[0] += step
        assert clock.look() == clock.now == expected
