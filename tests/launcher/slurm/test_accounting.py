"""Accounting: what sacct says of an element becomes a failure with its kind and a message that names the node."""

import pytest

from jobs.exit_codes import NO_DISK
from launcher.retry.policy import Allocation
from launcher.runs.failures import from_exit_status
from launcher.slurm.accounting import allocation, has_ended, judge, was_taken
from launcher.slurm.parsers import Accounted


def accounted(state: str, exit_code: str = "0:0", node: str = "n7") -> Accounted:
    return Accounted("12", 0, state, exit_code, node, 0, "4G", "01:00:00")


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [
        (accounted("OUT_OF_MEMORY", "0:125"), "OUT_OF_MEMORY", ["n7", "4G"]),
        (accounted("FAILED", "0:125"), "OUT_OF_MEMORY", ["n7", "4G"]),
        (accounted("TIMEOUT", "0:0"), "TIMEOUT", ["n7", "01:00:00"]),
        (accounted("DEADLINE", "0:0"), "TIMEOUT", ["n7"]),
        (accounted("NODE_FAIL", "1:0"), "NODE_FAIL", ["n7"]),
        (accounted("BOOT_FAIL", "1:0"), "NODE_FAIL", ["n7"]),
        (accounted("PREEMPTED", "0:0"), "PREEMPTED", ["n7"]),
        (accounted("CANCELLED", "0:15"), "CANCELLED", ["n7"]),
        (accounted("FAILED", "0:9"), "CRASH", ["n7", "signal 9"]),
        (accounted("FAILED", "1:0"), "LOST", ["n7", "exit status 1", "last line"]),
        (accounted("COMPLETED", "0:0"), "LOST", ["n7"]),
        (accounted("FAILED", f"{NO_DISK}:0"), "DISK", ["n7", "quota"]),
    ],
)
def test_an_element_that_began_has_the_kind_that_slurm_tells(row: Accounted, kind: str, words: list[str]) -> None:
    failure = judge(row, 3, began=True, words="last line")
    assert (failure.kind, failure.shard) == (kind, 3)
    assert [word for word in words if word not in failure.message] == []


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (accounted("FAILED", "127:0"), "LAUNCH"),
        (accounted("FAILED", "0:53"), "LAUNCH"),
        (accounted("NODE_FAIL"), "NODE_FAIL"),
        (accounted("FAILED", f"{NO_DISK}:0"), "DISK"),
    ],
)
def test_an_element_that_never_began_was_not_launched_unless_slurm_knows_better(row: Accounted, kind: str) -> None:
    failure = judge(row, 3, began=False, words="python: not found")
    assert failure.kind == kind
    assert kind != "LAUNCH" or failure.message.endswith("python: not found")


@pytest.mark.parametrize(("memory", "kind"), [(3 << 30, "CRASH"), (4 << 30, "CRASH"), (5 << 30, "OUT_OF_MEMORY")])
def test_a_kill_of_what_was_seen_with_more_memory_than_it_asked_for_was_for_that(memory: int, kind: str) -> None:
    assert judge(Accounted("12", 0, "FAILED", "0:9", "n7", memory, "4G", "10"), 3, began=True, words="").kind == kind


def test_memory_that_is_told_of_each_cpu_is_times_the_cpus() -> None:
    assert allocation(Accounted("12", 0, "FAILED", "1:0", "n7", 0, "100Mc", "10", 4)).memory == 400 << 20


def test_an_element_that_slurm_does_not_know_is_lost() -> None:
    assert judge(None, 3, began=True, words="").kind == "LOST"


def test_an_element_that_never_got_a_node_names_none() -> None:
    assert (
        judge(accounted("CANCELLED", node="None assigned"), 3, began=False, words="").message == "Slurm says CANCELLED"
    )


@pytest.mark.parametrize(
    ("row", "ended"),
    [
        (None, False),
        (accounted("PENDING"), False),
        (accounted("RUNNING"), False),
        (accounted("REQUEUED"), False),
        (accounted("COMPLETED"), True),
        (accounted("CANCELLED"), True),
    ],
)
def test_accounting_that_lags_behind_is_told_from_an_end(row: Accounted | None, ended: bool) -> None:
    assert has_ended(row) is ended


@pytest.mark.parametrize(
    ("memory", "time", "node", "had"),
    [
        ("500M", "00:10:00", "n1", Allocation("n1", 500 << 20, 600)),
        ("2Gn", "1-00:00:00", "n2", Allocation("n2", 2 << 30, 86_400)),
        ("2Gc", "", "n2", Allocation("n2", 2 << 30, None)),
        ("", "UNLIMITED", "n3", Allocation("n3")),
        ("", "", "None assigned", Allocation()),
        ("", "", "", Allocation()),
    ],
)
def test_what_an_element_had_is_told_in_bytes_and_seconds(memory: str, time: str, node: str, had: Allocation) -> None:
    assert allocation(Accounted("12", 0, "FAILED", "1:0", node, 0, memory, time)) == had


@pytest.mark.parametrize(
    ("row", "taken"),
    [
        (None, False),
        (accounted("COMPLETED"), False),
        (accounted("TIMEOUT"), False),
        (accounted("CANCELLED"), True),
        (accounted("NODE_FAIL"), True),
        (accounted("PREEMPTED"), True),
    ],
)
def test_an_element_that_somebody_else_ended_is_told_from_one_that_left(row: Accounted | None, taken: bool) -> None:
    assert was_taken(row) is taken


def test_a_local_task_says_by_its_exit_status_that_the_disk_is_full() -> None:
    assert from_exit_status(NO_DISK, 3, "").kind == "DISK"
