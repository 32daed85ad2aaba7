"""What Slurm's commands say: which errors pass, which mean "no more now", what sacct's rows mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.slurm.parsers import (
    Accounted,
    JobId,
    is_passing,
    is_queue_full,
    is_submit_limit,
    read_accounting,
    read_job_id,
    read_jobs,
    said,
)

_POLICY = (
    "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    "problem",
    [
        "Batch job submission failed: Socket timed out on send/recv operation",
        "Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "Batch job submission failed: Slurm backup controller in standby mode",
        "slurm_load_jobs error: Zero Bytes were transmitted or received",
        "Batch job submission failed: Resource temporarily unavailable",
        "Problem talking to the database: Connection refused",
    ],
)
def test_what_passes_by_itself_is_worth_another_try(problem: str) -> None:
    assert is_passing(problem)
    assert not is_submit_limit(problem)


@pytest.mark.parametrize(
    "problem",
    [
        f"AssocMaxSubmitJobLimit {_POLICY}",
        f"AssocGrpSubmitJobsLimit {_POLICY}",
        f"QOSMaxSubmitJobPerUserLimit {_POLICY}",
        f"QOSMaxSubmitJobPerAccountLimit {_POLICY}",
        f"QOSGrpSubmitJobsLimit {_POLICY}",
        _POLICY,
    ],
)
def test_a_limit_on_submitted_jobs_means_no_more_now(problem: str) -> None:
    assert is_submit_limit(problem)
    assert not is_passing(problem)


@pytest.mark.parametrize(
    "problem",
    [
        "sbatch: Slurm temporarily unable to accept job, sleeping and retrying Batch job submission failed: Resource "
        "temporarily unavailable",
        "Slurm job queue full, sleeping and retrying Batch job submission failed",
    ],
)
def test_a_full_queue_is_told_from_a_limit_of_the_user(problem: str) -> None:
    assert is_queue_full(problem)
    assert not is_submit_limit(problem)


@pytest.mark.parametrize(
    "problem",
    [
        f"QOSMaxWallDurationPerJobLimit {_POLICY}",
        f"AssocMaxCpuPerJobLimit {_POLICY}",
        f"QOSMaxGRESPerJob {_POLICY}",
        "invalid partition specified: nope Batch job submission failed: Invalid partition name specified",
        "Batch job submission failed: Invalid account or account/partition combination specified",
        "Batch job submission failed: Invalid job array specification",
        "Memory specification can not be satisfied",
        "sbatch: unrecognized option '--foo=1'",
    ],
)
def test_the_rest_is_for_the_user_to_mend(problem: str) -> None:
    assert not is_submit_limit(problem)
    assert not is_passing(problem)


def test_errors_are_taken_out_of_what_a_command_said() -> None:
    text = "sbatch: warning: can't honor\nsbatch: error: QOSMaxX\nsbatch: error: Batch job submission failed: Y\n"
    assert said(text) == "QOSMaxX Batch job submission failed: Y"
    assert said("slurm_load_jobs error: Invalid job id specified\n") == "Invalid job id specified"
    assert said("sbatch: unrecognized option '--foo'\nTry \"sbatch --help\"\n").startswith(
        "sbatch: unrecognized option"
    )
    assert said("\n") == "no message"


JOBS = """\
JobId=8 ArrayJobId=7 ArrayTaskId=0 JobName=a b UserId=root(0) JobState=CANCELLED Reason=None ExitCode=0:15 TimeLimit=00:05:00 \
NodeList=n1 TRES=cpu=1,mem=10M MinMemoryCPU=10M
JobId=7 ArrayJobId=7 ArrayTaskId=2-3%1 JobState=PENDING ExitCode=0:0 TimeLimit=UNLIMITED NodeList= MinMemoryNode=2G
JobId=9 JobState=TIMEOUT ExitCode=0:0 TimeLimit=00:01:00 NodeList=n2
slurm_load_jobs error: Invalid job id specified
"""


def test_what_the_controller_knows_of_elements_reads_as_the_accounting_does() -> None:
    assert list(read_jobs(JOBS)) == [
        Accounted("7", 0, "CANCELLED", "0:15", "n1", 0, "10Mc", "00:05:00"),
        Accounted("7", 2, "PENDING", "0:0", "", 0, "2Gn", "UNLIMITED"),
        Accounted("7", 3, "PENDING", "0:0", "", 0, "2Gn", "UNLIMITED"),
        Accounted("9", None, "TIMEOUT", "0:0", "n2", 0, "", "00:01:00"),
    ]


ROWS = """\
12_0|COMPLETED|0:0|n1||600M|01:00:00|1
12_0.batch|COMPLETED|0:0|n1|1536K|600M|01:00:00|1
12_1|CANCELLED by 1000|0:0|n2||600M|01:00:00|1
12_1.batch|CANCELLED|0:15|n2|2M|||1
12_2|NODE_FAIL|1:0|n2||600M|01:00:00|1
12_2|OUT_OF_MEMORY|0:125|n3||600M|01:00:00|1
12_2.batch|OUT_OF_MEMORY|0:125|n3|1.5G|||1
12_2.extern|COMPLETED|0:0|n3|100|||1
13|TIMEOUT|0:0|n4||4Gn|UNLIMITED|4
"""


def test_rows_of_sacct_are_read_by_element() -> None:
    found = list(read_accounting(ROWS))
    assert found == [
        Accounted("12", 0, "COMPLETED", "0:0", "n1", 1536 << 10, "600M", "01:00:00"),
        Accounted("12", 1, "CANCELLED", "0:0", "n2", 2 << 20, "600M", "01:00:00"),
        Accounted("12", 2, "OUT_OF_MEMORY", "0:125", "n3", 3 << 29, "600M", "01:00:00"),
        Accounted("13", None, "TIMEOUT", "0:0", "n4", 0, "4Gn", "UNLIMITED", 4),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "sacct: warning: a wrapper's words",
        "12_0",
        "12_0|COMPLETED|0:0|n1|1M",
        "12_0||0:0|n1||4G|10:00",
        "12_x|COMPLETED|0:0|n1||4G|10:00",
        "²|COMPLETED|0:0|n1||4G|10:00",
        "12_[0-999999999]|PENDING|0:0|||4G|10:00",
    ],
)
def test_lines_that_are_none_of_saccts_are_passed_over(line: str) -> None:
    assert list(read_accounting(f"{line}\n{ROWS}{line}\n")) == list(read_accounting(ROWS))


def test_memory_that_is_no_size_is_not_known() -> None:
    (row,) = read_accounting("12_0|COMPLETED|0:0|n1|1.2.3K|4G|10:00|1\n")
    assert row.memory == 0


def test_of_a_requeued_element_the_last_start_counts() -> None:
    assert [row.state for row in read_accounting(ROWS) if row.index == 2] == ["OUT_OF_MEMORY"]


@pytest.mark.parametrize(
    ("indices", "elements"),
    [
        ("[3]", {3}),
        ("[3-5]", {3, 4, 5}),
        ("[0-1,7,9-10%2]", {0, 1, 7, 9, 10}),
        ("[0-6:3]", {0, 3, 6}),
    ],
)
def test_elements_that_never_started_share_a_row(indices: str, elements: set[int]) -> None:
    found = list(read_accounting(f"12_{indices}|CANCELLED by 0|0:0|None assigned||600M|01:00:00|1\n"))
    assert {row.index for row in found} == elements
    assert {(row.job_id, row.state, row.memory) for row in found} == {("12", "CANCELLED", 0)}


@given(st.lists(st.integers(0, 3000), unique=True, min_size=1), st.sampled_from(["", "K", "M", "G"]))
def test_every_element_of_an_array_is_found(indices: list[int], unit: str) -> None:
    lines = [f"7_{index}|FAILED|1:0|n1||1G|1:00|1\n7_{index}.batch|FAILED|1:0|n1|3{unit}|||1\n" for index in indices]
    found = list(read_accounting("".join(lines)))
    assert [row.index for row in found] == indices
    assert {row.memory for row in found} == {3 * 1024 ** " KMG".index(unit or " ")}


@pytest.mark.parametrize(
    ("text", "job_id"),
    [
        ("123\n", JobId("123")),
        ("123;cluster\n", JobId("123", "cluster")),
        ("quota: 5 of 7\n123\n", JobId("123")),
        ("Submitted batch job 123\n", None),
        ("123\n124\n", None),
        ("", None),
    ],
)
def test_a_job_id_stands_alone_on_its_line(text: str, job_id: JobId | None) -> None:
    assert read_job_id(text) == job_id
