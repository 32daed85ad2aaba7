"""Efficiency: asked against used, and a recommendation that the next run can live with."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from jobs.kinds import EndReason
from jobs.storage.beats import Beat
from jobs.storage.spans import Spans
from launcher.status.efficiency import more_memory, summarise

GIB = 1 << 30
END = Beat(
    7,
    0.0,
    done=Spans([(0, 100)]),
    ok=100,
    end=EndReason.DONE,
    seconds=300.0,
    cpus=8,
    memory_limit=16 * GIB,
    peak_memory=2 * GIB,
    cpu_seconds=600.0,
)


def test_used_is_set_against_asked() -> None:
    found = summarise([END, dataclasses.replace(END, seconds=600.0, cpu_seconds=1200.0, peak_memory=3 * GIB)])
    assert found
    assert found.cpu_use == 0.25
    assert (found.peak_memory, found.memory) == (3 * GIB, 4 * GIB)
    assert found.minutes == 15
    assert "peak 3.0G of 16.0G" in found.advice(has_limits=True, is_complete=True)[0]
    assert "2 of 8 would do" in found.advice(has_limits=True, is_complete=True)[1]


def test_attempts_that_did_nothing_do_not_count() -> None:
    assert summarise([]) is None
    assert summarise([dataclasses.replace(END, done=Spans())]) is None


def test_idle_gpus_are_pointed_out() -> None:
    found = summarise([dataclasses.replace(END, gpu_use=0.2)])
    assert found
    assert "the GPUs computed 20% of the time" in found.advice(has_limits=True, is_complete=True)[-1]
    assert found.to_json()["gpus"] == {"use": 0.2}


@given(st.integers(0, 1 << 42))
def test_the_memory_asked_for_is_above_the_peak_and_not_wasteful(peak: int) -> None:
    found = summarise([dataclasses.replace(END, peak_memory=peak)])
    assert found
    assert peak * 1.2 <= found.memory <= peak * 1.26 + GIB


def test_after_running_out_the_next_ask_says_why() -> None:
    end = dataclasses.replace(END, memory_limit=round(4 * GIB * 0.9), peak_memory=round(4.1 * GIB))
    assert more_memory([end]) == ("6G", "peak was 4.1G of 4.0G")
    assert more_memory([]) is None


def test_small_sizes_are_told_in_megabytes() -> None:
    found = summarise([dataclasses.replace(END, peak_memory=30 << 20, memory_limit=800 << 20)])
    assert found
    assert found.advice(has_limits=True, is_complete=True)[0].startswith("ask for mem 512M (peak 30M of 800M)")


def test_more_memory_than_was_asked_for_is_advised_only_where_that_was_short() -> None:
    def advice(peak: int) -> str:
        found = summarise([dataclasses.replace(END, peak_memory=peak << 20, memory_limit=300 << 20)])
        assert found
        return found.advice(has_limits=True, is_complete=True)[0]

    assert advice(30).startswith("ask for time ")
    assert advice(290).startswith("ask for mem 512M (peak 290M of 300M)")


def test_where_nothing_is_asked_for_there_is_no_advice_on_it() -> None:
    found = summarise([END])
    assert found
    assert found.advice(has_limits=False, is_complete=True) == found.advice(has_limits=True, is_complete=True)[1:]


def test_of_minutes_at_work_and_of_runs_that_failed_nothing_is_concluded() -> None:
    short = summarise([dataclasses.replace(END, seconds=100.0, cpu_seconds=1.0, gpu_use=0.1)] * 2)
    long = summarise([dataclasses.replace(END, seconds=100.0, cpu_seconds=1.0, gpu_use=0.1)] * 3)
    assert short
    assert long
    assert short.advice(has_limits=False, is_complete=True) == []
    assert len(long.advice(has_limits=False, is_complete=True)) == 2
    assert long.advice(has_limits=False, is_complete=False) == []
