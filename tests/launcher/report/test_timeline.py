"""Timeline and progression: what was at work when, by the beats of attempts."""

import pytest

from jobs.kinds import ShardState
from jobs.storage.attempts import Attempts
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.report import timeline
from launcher.report.bill import Prices, make_bill
from launcher.report.progression import progression
from launcher.report.timeline import attempt_bars, shard_bars
from launcher.runs.endings import Ending
from launcher.runs.history import History, read_histories
from launcher.status.reader import StatusReader
from tests.support.large_run import BEGIN, EVIL, build_large_run

TASKS, SHARDS, ROWS, BEATS = 20, 100, 10, 12


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return build_large_run(tmp_path_factory.mktemp("runs") / "run", SHARDS, TASKS, rows=ROWS, beats=BEATS)


@pytest.fixture(scope="module")
def histories(run: RunDir) -> list[History]:
    return read_histories(Attempts(run).read())


def test_a_history_has_all_beats_of_an_attempt_and_ends_with_the_one_that_counts(histories: list[History]) -> None:
    assert len(histories) == TASKS
    for one in histories:
        assert [beat.number for beat in one.beats] == list(range(1, BEATS + 1))
        assert one.beats[-1] == one.attempt.beat
        times = [time for time, _ in one.points]
        assert times == sorted(times)


def test_of_very_many_beats_some_are_read(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.runs.history._MOST_EACH", 4)
    for one in read_histories(Attempts(run).read()):
        assert len(one.beats) <= 5
        assert one.beats[-1] == one.attempt.beat


def test_each_attempt_has_a_bar_with_its_end(histories: list[History]) -> None:
    bars, left_out = attempt_bars(histories, frozenset({"0001-00013-0000000d"}))
    assert (len(bars), left_out) == (TASKS, 0)
    ends = {int(bar.name.split("-")[1]): bar.ending for bar in bars}
    assert (ends[0], ends[3], ends[5], ends[7]) == (Ending.DONE, Ending.LOST, Ending.FAILED, Ending.STOPPED)
    assert ends[13] is Ending.RUNNING
    assert all(bar.begin < bar.ready < bar.end for bar in bars)
    assert next(bar for bar in bars if bar.line == 5).why == f"CRASH: killed by signal 11: {EVIL}"


def test_of_very_many_workers_those_that_failed_are_shown(
    histories: list[History], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "MOST_ATTEMPTS", 12)
    bars, left_out = attempt_bars(histories, frozenset())
    assert len(bars) == TASKS - left_out <= 12
    assert sum(bar.ending.is_bad for bar in bars) == 6, "three of each ten"


def test_shards_have_the_time_in_which_their_rows_got_done(run: RunDir, histories: list[History]) -> None:
    shards = StatusReader(run).read().shards
    bars = shard_bars(histories, shards, Plan.read(run.plan).boundaries)
    assert len(bars) == shards.count(ShardState.DONE)
    first, last = bars[0], bars[4]
    assert BEGIN <= first.begin < first.end <= last.end <= histories[0].end
    assert {bar.state for bar in bars} == {ShardState.DONE}


def test_of_very_many_shards_neighbours_are_one_bar(
    run: RunDir, histories: list[History], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "MOST_SHARDS", 10)
    shards = StatusReader(run).read().shards
    bars = shard_bars(histories, shards, Plan.read(run.plan).boundaries)
    assert [(bar.first, bar.stop) for bar in bars] == [(first, first + 10) for first in range(0, SHARDS, 10)]
    assert sum(bar.failed for bar in bars) == shards.count(ShardState.FAILED) > 0


def test_all_samples_are_in_the_throughput(histories: list[History]) -> None:
    found = progression(histories, min(one.begin for one in histories), max(one.end for one in histories))
    assert found is not None
    assert sum(rate * found.step for rate in found.rates) == pytest.approx(SHARDS * ROWS - 6 * ROWS)
    assert max(found.at_work) <= TASKS
    assert sum(found.at_work) * found.step == pytest.approx(sum(one.end - one.begin for one in histories), rel=0.01)
    assert max(found.memory) == max(one.attempt.beat.memory for one in histories)


def test_nothing_to_plot_before_the_first_attempt() -> None:
    assert progression([], 0.0, 0.0) is None
    assert attempt_bars([], frozenset()) == ([], 0)


def test_a_bill_has_what_was_given_and_what_was_told(histories: list[History]) -> None:
    bill = make_bill(histories, 0, Prices(0.5, 2.0, "EUR"))
    hours = sum(one.seconds for one in histories) / 3600
    assert bill.cpu_hours == pytest.approx(4 * hours)
    assert bill.gpu_hours == pytest.approx(hours)
    assert bill.price == pytest.approx(0.5 * 4 * hours + 2 * hours)
    assert (bill.attempts, bill.told) == (TASKS, TASKS - 2)
    told = sum(one.seconds for one in histories if one.attempt.beat.end) / 3600
    assert bill.energy == pytest.approx(0.3 * told)
    assert bill.cpu_hours_used == pytest.approx(2.5 * told)
    assert make_bill(histories, 0, Prices()).price is None
