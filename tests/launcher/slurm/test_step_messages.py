"""StepMessages: what Slurm's processes on the nodes write into jobs' logs, from 20.11 to 25.11."""

from pathlib import Path

import pytest

from launcher.slurm.step_messages import StepMessages

AT = "CANCELLED AT 2026-11-28T21:12:25"
ENDS = {
    f"slurmstepd: error: *** JOB 7 ON n1 {AT} ***": "CANCELLED",
    f"slurmstepd-n1: error: *** JOB 7 ON n1 {AT} ***": "CANCELLED",
    f"slurmstepd: error: *** JOB 7 ON n1 {AT} DUE to SIGNAL Terminated ***": "CANCELLED",  # since 24.11
    f"slurmstepd: error: *** JOB 7 ON n1 {AT} DUE TO TIME LIMIT ***": "TIMEOUT",
    f"slurmstepd: error: *** JOB 7 ON n1 {AT} DUE TO PREEMPTION ***": "PREEMPTED",
    f"slurmstepd: error: *** JOB 7 ON n1 {AT} DUE TO JOB REQUEUE ***": "REQUEUED",
    f"slurmstepd: error: *** JOB 7 ON n1 {AT} DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***": "NODE_FAIL",
    "slurmstepd: error: *** JOB 7 ON n1 FAILED (non-zero exit code or other failure mode) ***": "FAILED",
    "slurmstepd: error: StepId=7.batch exceeded memory limit (182140928 > 104857600), being killed": "OUT_OF_MEMORY",
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch cgroup. Some of your processes may have been "
    "killed by the cgroup out-of-memory handler.": "OUT_OF_MEMORY",
    "slurmstepd: error: Detected 2 oom-kill event(s) in step 7.batch cgroup. Some of your processes may have been "
    "killed by the cgroup out-of-memory handler.": "OUT_OF_MEMORY",
    "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch. Some of the step tasks have been "
    "OOM Killed.": "OUT_OF_MEMORY",
}


@pytest.mark.parametrize(("line", "state"), ENDS.items())
def test_each_message_tells_how_its_job_ended_and_no_other(line: str, state: str) -> None:
    found = StepMessages.of(["some words\n", f"{line}\n", "7 *** JOB 8 ON n1 CANCELLED AT now ***\n"])
    assert found.state("7", 0) == state
    assert [found.state(job, 0) for job in ("8", "70", None)] == [None, None, None]


def test_what_was_killed_for_its_memory_is_called_cancelled_too() -> None:
    lines = [line for line, state in ENDS.items() if "exceeded" in line or state == "CANCELLED"]
    assert StepMessages.of(lines).state("7", 0) == "OUT_OF_MEMORY"


def test_a_process_that_was_killed_for_memory_long_before_is_not_how_its_job_ended() -> None:
    lines = [line for line, state in ENDS.items() if "oom_kill" in line or state == "TIMEOUT"]
    assert StepMessages.of(lines).state("7", 0) == "TIMEOUT"


def test_messages_of_earlier_starts_say_nothing_of_the_last_one() -> None:
    requeued = next(line for line, state in ENDS.items() if state == "PREEMPTED")
    assert StepMessages.of([requeued]).state("7", 1) is None
    assert StepMessages.of([requeued, next(iter(ENDS))]).state("7", 1) == "CANCELLED"


def test_a_log_that_is_gone_says_nothing(tmp_path: Path) -> None:
    assert StepMessages.read(tmp_path / "0001.log").state("7", 0) is None
    (tmp_path / "0001.log").write_bytes(b"\xff\n" + next(iter(ENDS)).encode() + b"\n")
    assert StepMessages.read(tmp_path / "0001.log").state("7", 0) == "CANCELLED"
