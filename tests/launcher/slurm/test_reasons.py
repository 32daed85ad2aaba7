"""What a person is told about jobs that Slurm lets wait."""

import pytest

from launcher.slurm.reasons import queue_advice


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("launch failed requeued held", "scontrol release"),
        ("JobHeldUser", "scontrol release"),
        ("JobHeldAdmin", "administrator"),
        ("PartitionTimeLimit", "slurm.time"),
        ("BadConstraints", "no node"),
        ("QOSMaxSubmitJobPerUserLimit", "submitted"),
        ("AssocGrpCPULimit", "limit"),
        ("QOSMaxCpuPerUserLimit", "limit"),
        ("AssocGrpCPUMinutesLimit", "share of time"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "reservation"),
        ("ReqNodeNotAvail,_UnavailableNodes:n1", "reservation"),
        ("DependencyNeverSatisfied", "rerun"),
    ],
)
def test_a_reason_that_does_not_pass_by_itself_has_advice(reason: str, words: str) -> None:
    assert words in (queue_advice(reason) or "")


@pytest.mark.parametrize("reason", ["Priority", "Resources", "Dependency", "None", "JobArrayTaskLimit", "a new one"])
def test_other_reasons_have_none(reason: str) -> None:
    assert queue_advice(reason) is None
