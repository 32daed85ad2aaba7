"""What a person is told about jobs that Slurm lets wait."""

import re

import pytest

from launcher.slurm.reasons import queue_advice


def _words(text: str) -> list[str]:
    return text.split()


_LIMITED = _words("BB Billing Cpu Energy GRES License Mem Node Unknown")
# Of job_reason_string, src/common/slurm_protocol_defs.c, Slurm 20.11.
IN_20_11 = _words("""
    Prolog Priority Dependency Resources PartitionNodeLimit PartitionTimeLimit PartitionDown PartitionInactive
    JobHeldAdmin JobHeldUser BeginTime Licenses AssociationJobLimit AssociationResourceLimit AssociationTimeLimit
    Reservation ReqNodeNotAvail FrontEndDown SchedDefer NodeDown BadConstraints SystemFailure JobLaunchFailure
    NonZeroExitCode TimeLimit InactiveLimit InvalidAccount InvalidQOS QOSUsageThreshold QOSJobLimit QOSResourceLimit
    QOSTimeLimit BlockMaxError BlockFreeAction Cleaning QOSNotAllowed AccountNotAllowed DependencyNeverSatisfied
    QOSGrpCpuLimit QOSGrpCPUMinutesLimit QOSGrpCPURunMinutesLimit QOSGrpJobsLimit QOSGrpMemLimit QOSGrpNodeLimit
    QOSGrpSubmitJobsLimit QOSGrpWallLimit QOSMaxCpuPerJobLimit QOSMaxCpuMinutesPerJobLimit QOSMaxNodePerJobLimit
    QOSMaxWallDurationPerJobLimit QOSMaxCpuPerUserLimit QOSMaxJobsPerUserLimit QOSMaxNodePerUserLimit
    QOSMaxSubmitJobPerUserLimit QOSMinCpuNotSatisfied AssocGrpCpuLimit AssocGrpCPUMinutesLimit
    AssocGrpCPURunMinutesLimit AssocGrpJobsLimit AssocGrpMemLimit AssocGrpNodeLimit AssocGrpSubmitJobsLimit
    AssocGrpWallLimit AssocMaxJobsLimit AssocMaxCpuPerJobLimit AssocMaxCpuMinutesPerJobLimit AssocMaxNodePerJobLimit
    AssocMaxWallDurationPerJobLimit AssocMaxSubmitJobLimit JobHoldMaxRequeue JobArrayTaskLimit BurstBufferResources
    BurstBufferStageIn BurstBufferOperation PowerNotAvail PowerReserved AssocGrpUnknown AssocGrpUnknownMinutes
    AssocGrpUnknownRunMinutes AssocMaxUnknownPerJob AssocMaxUnknownPerNode AssocMaxUnknownMinutesPerJob
    AssocMaxCpuPerNode AssocGrpMemMinutes AssocGrpMemRunMinutes AssocMaxMemPerJob AssocMaxMemPerNode
    AssocMaxMemMinutesPerJob AssocGrpNodeMinutes AssocGrpNodeRunMinutes AssocMaxNodeMinutesPerJob AssocGrpEnergy
    AssocGrpEnergyMinutes AssocGrpEnergyRunMinutes AssocMaxEnergyPerJob AssocMaxEnergyPerNode
    AssocMaxEnergyMinutesPerJob AssocGrpGRES AssocGrpGRESMinutes AssocGrpGRESRunMinutes AssocMaxGRESPerJob
    AssocMaxGRESPerNode AssocMaxGRESMinutesPerJob AssocGrpLicense AssocGrpLicenseMinutes AssocGrpLicenseRunMinutes
    AssocMaxLicensePerJob AssocMaxLicenseMinutesPerJob AssocGrpBB AssocGrpBBMinutes AssocGrpBBRunMinutes
    AssocMaxBBPerJob AssocMaxBBPerNode AssocMaxBBMinutesPerJob QOSGrpUnknown QOSGrpUnknownMinutes
    QOSGrpUnknownRunMinutes QOSMaxUnknownPerJob QOSMaxUnknownPerNode QOSMaxUnknownPerUser QOSMaxUnknownMinutesPerJob
    QOSMinUnknown QOSMaxCpuPerNode QOSGrpMemoryMinutes QOSGrpMemoryRunMinutes QOSMaxMemoryPerJob QOSMaxMemoryPerNode
    QOSMaxMemoryPerUser QOSMaxMemoryMinutesPerJob QOSMinMemory QOSGrpNodeMinutes QOSGrpNodeRunMinutes
    QOSMaxNodeMinutesPerJob QOSMinNode QOSGrpEnergy QOSGrpEnergyMinutes QOSGrpEnergyRunMinutes QOSMaxEnergyPerJob
    QOSMaxEnergyPerNode QOSMaxEnergyPerUser QOSMaxEnergyMinutesPerJob QOSMinEnergy QOSGrpGRES QOSGrpGRESMinutes
    QOSGrpGRESRunMinutes QOSMaxGRESPerJob QOSMaxGRESPerNode QOSMaxGRESPerUser QOSMaxGRESMinutesPerJob QOSMinGRES
    QOSGrpLicense QOSGrpLicenseMinutes QOSGrpLicenseRunMinutes QOSMaxLicensePerJob QOSMaxLicensePerUser
    QOSMaxLicenseMinutesPerJob QOSMinLicense QOSGrpBB QOSGrpBBMinutes QOSGrpBBRunMinutes QOSMaxBBPerJob
    QOSMaxBBPerNode QOSMaxBBPerUser QOSMinBB DeadLine MaxBBPerAccount MaxCpuPerAccount MaxEnergyPerAccount
    MaxGRESPerAccount MaxNodePerAccount MaxLicensePerAccount MaxMemoryPerAccount MaxUnknownPerAccount
    MaxJobsPerAccount MaxSubmitJobsPerAccount PartitionConfig AccountingPolicy FedJobLock OutOfMemory MaxMemPerLimit
    AssocGrpBilling AssocGrpBillingMinutes AssocGrpBillingRunMinutes AssocMaxBillingPerJob AssocMaxBillingPerNode
    AssocMaxBillingMinutesPerJob QOSGrpBilling QOSGrpBillingMinutes QOSGrpBillingRunMinutes QOSMaxBillingPerJob
    QOSMaxBillingPerNode QOSMaxBillingPerUser QOSMaxBillingMinutesPerJob MaxBillingPerAccount QOSMinBilling
    ReservationDeleted
""")
# What later versions added: src/common/job_state_reason.c of 25.11.
SINCE = ["RaisedSignal", "ReservationInvalid", "Constraints"]
# What Slurm writes in the place of a code.
SENTENCES = [
    "launch failed requeued held",
    "launch_failed_requeued_held",
    "user env retrieval failed requeued held",
    "job requeued in held state",
    "ReqNodeNotAvail, UnavailableNodes:n[1-4]",
    "ReqNodeNotAvail,_UnavailableNodes:n1",
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
    "Job's account not permitted to use this partition (gpu allows lab not root)",
    "Job's QOS not permitted to use this partition (gpu allows high not normal)",
]


@pytest.mark.parametrize("reason", [*IN_20_11, *SINCE, *SENTENCES])
def test_every_reason_of_slurm_has_words(reason: str) -> None:
    assert queue_advice(reason)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("launch failed requeued held", "scontrol release"),
        ("JobHoldMaxRequeue", "scontrol release"),
        ("JobHeldUser", "scontrol release"),
        ("JobHeldAdmin", "administrator"),
        ("PartitionTimeLimit", "slurm.time"),
        ("AssocMaxWallDurationPerJobLimit", "slurm.time"),
        ("BadConstraints", "no node"),
        ("QOSMaxSubmitJobPerUserLimit", "submitted"),
        ("MaxSubmitJobsPerAccount", "submitted"),
        ("AssocGrpCPULimit", "at a time"),
        ("QOSMaxCpuPerUserLimit", "at a time"),
        ("MaxGRESPerAccount", "at a time"),
        ("AssocGrpCPUMinutesLimit", "share of time"),
        ("QOSGrpWallLimit", "share of time"),
        ("AssocGrpCPURunMinutesLimit", "at once"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "reservation"),
        ("ReservationDeleted", "never start"),
        ("DependencyNeverSatisfied", "rerun"),
        ("JobArrayTaskLimit", "slurm.array_parallelism"),
        ("Priority", "squeue --start"),
    ],
)
def test_what_to_type_is_told(reason: str, words: str) -> None:
    assert words in (queue_advice(reason) or "")


@pytest.mark.parametrize("reason", [
    *(f"{who}Max{what}Per{each}" for who in ("QOS", "Assoc") for what in _LIMITED for each in ("Job", "Node")),
    *(f"QOSMax{what}MinutesPerJob" for what in _LIMITED), "QOSMaxCpuPerJobLimit", "AssocMaxNodePerJobLimit", "MaxMemPerLimit",
    *(f"QOSMin{what}" for what in _LIMITED),
])  # fmt: skip
def test_what_no_job_may_have_is_not_waited_for(reason: str) -> None:
    assert "never start" in (queue_advice(reason) or "")


@pytest.mark.parametrize("reason", [*IN_20_11, *SINCE, *SENTENCES])
def test_commands_are_told_with_the_run_that_they_are_for(reason: str) -> None:
    words = (queue_advice(reason) or "").format(run="runs/toy")

    assert all(name.startswith("runs/toy") for name in re.findall(r"`launcher \w+ ?([^`]*)`", words))


@pytest.mark.parametrize("reason", ["None", "", "a new one"])
def test_of_what_nobody_knows_nothing_is_said(reason: str) -> None:
    assert queue_advice(reason) is None
