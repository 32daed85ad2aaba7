"""Associations: the limits that a job falls under, of its association, its accounts and its QOS, as sacctmgr shows them."""

import pytest

from launcher.slurm.associations import (
    ACCOUNT_FIELDS,
    DEFAULT_QOS_FIELDS,
    QOS_FIELDS,
    USER_FIELDS,
    Bounds,
    Policy,
    read_policy,
    too_much,
)

GIB = 1 << 30


def rows(fields: str, *told: dict[str, str]) -> str:
    """What sacctmgr prints, with a line of a site's wrapper."""
    lines = ("|".join(one.get(name, "") for name in fields.split(",")) for one in told)
    return "\n".join(["welcome", *lines])


USERS = rows(
    USER_FIELDS,
    {"DefaultAccount": "lab", "Account": "lab", "Cluster": "site", "MaxTRES": "cpu=6"},
    {"DefaultAccount": "lab", "Account": "lab", "Cluster": "site", "Partition": "gpu", "MaxSubmitJobs": "9",
     "GrpSubmitJobs": "7"},
    {"DefaultAccount": "lab", "Account": "debug", "Cluster": "site", "MaxSubmitJobs": "3"},
    {"DefaultAccount": "lab", "Account": "debug", "Cluster": "elsewhere", "MaxSubmitJobs": "1"},
    {
        "DefaultAccount": "lab", "Account": "paid", "Cluster": "site", "MaxSubmitJobs": "100",
        "MaxTRES": "cpu=4,mem=2048M", "MaxWall": "1-00:00:00",
    },
    {"DefaultAccount": "lab", "Account": "odd", "Cluster": "site", "MaxSubmitJobs": "-1",
     "MaxTRES": "cpu=x,mem=,mem=18446744073709551614M",
     "MaxWall": "x"},
)  # fmt: skip
DEFAULT_QOS = rows(
    DEFAULT_QOS_FIELDS,
    {"Cluster": "site", "Account": "lab", "DefaultQOS": "small"},
    {"Cluster": "site", "Account": "lab", "Partition": "gpu"},
    {"Cluster": "elsewhere", "Account": "paid", "DefaultQOS": "small"},
    {"Cluster": "site", "Account": "paid", "DefaultQOS": "fast"},
)
ACCOUNTS = rows(
    ACCOUNT_FIELDS,
    {"Cluster": "site", "Account": "root"},
    {"Cluster": "site", "Account": "lab", "ParentName": "root", "GrpSubmitJobs": "50", "GrpTRES": "cpu=12"},
    {"Cluster": "site", "Account": "paid", "ParentName": "lab", "GrpTRES": "node=3"},
    {"Cluster": "site", "Account": "odd", "ParentName": "odd"},
)
QOS = rows(
    QOS_FIELDS,
    {"Name": "normal"},
    {
        "Name": "small", "MaxSubmitJobsPU": "7", "MaxTRESPU": "node=2,gres/gpu=4,gres/gpu:a100=1", "GrpTRES": "gres/gpu=3",
        "MaxWall": "00:10:00",
    },
    {"Name": "fast", "MaxSubmitJobsPA": "200", "MaxTRES": "cpu=16"},
    {
        "Name": "busy", "MaxJobsPU": "9", "MaxJobsPA": "8", "GrpJobs": "6", "MaxTRES": "cpu=16",
        "MaxTRESPerNode": "cpu=4,gres/gpu=1",
        "MaxTRESMins": "cpu=100,mem=6000M", "GrpTRESRunMins": "cpu=90", "GrpTRES": "cpu=20,mem=64G",
    },
    {"Name": "closed", "GrpJobs": "0"},
)  # fmt: skip


@pytest.fixture
def policy() -> Policy:
    return read_policy(USERS, DEFAULT_QOS, ACCOUNTS, QOS)


@pytest.mark.parametrize(
    ("account", "partition", "qos", "jobs"),
    [
        (None, None, None, (7, 50)),
        (None, "gpu", None, (7, 7)),  # the partition's own row has the QOS normal
        ("lab", "cpu,gpu", "normal", (9, 7)),
        ("debug", None, None, (3, None)),
        ("paid", None, None, (200, 50)),  # the limit of the QOS takes the place of the association's
        ("paid", None, "normal", (100, 50)),
        ("odd", None, None, (None, None)),
        ("none", None, None, (None, None)),
    ],
)
def test_the_limit_of_jobs_is_that_of_the_qos_or_else_of_the_association(
    policy: Policy, account: str | None, partition: str | None, qos: str | None, jobs: tuple[int | None, int | None]
) -> None:
    found = policy.bounds("site", account, partition, qos)
    assert (found.submit_jobs, found.group_jobs) == jobs


def test_what_a_job_may_take_is_the_least_of_all_that_it_falls_under(policy: Policy) -> None:
    own = policy.bounds("site", None, None, None)
    assert (own.time, own.job, own.group) == (600, {"cpu": 6}, {"cpu": 12, "node": 2, "gres/gpu": 3})
    paid = policy.bounds("site", "paid", None, None)
    assert (paid.time, paid.job, paid.group) == (86_400, {"cpu": 16, "mem": 2 * GIB}, {"cpu": 12, "node": 3})


def test_no_accounting_means_no_limits() -> None:
    assert Policy().bounds("site", None, None, None) == Bounds()
    assert read_policy("", "", "", "").bounds("site", None, None, None) == Bounds()


@pytest.mark.parametrize(
    ("asked", "seconds", "words"),
    [
        ({"cpu": 6, "mem": 0, "node": 2, "gres/gpu": 3}, 600, []),
        ({"cpu": 7}, None, ["7 CPUs, and its account or QOS lets a job have 6 CPUs"]),
        (
            {"node": 3, "gres/gpu": 4},
            660,
            ["3 nodes, and", "4 GPUs, and", "11 min, and its account or QOS lets a job run 10 min"],
        ),
    ],
)
def test_more_than_any_job_may_have_is_told(
    policy: Policy, asked: dict[str, int], seconds: int | None, words: list[str]
) -> None:
    found = too_much(asked, seconds, policy.bounds("site", None, None, None))
    assert len(found) == len(words)
    assert all(text.startswith(word) for text, word in zip(found, words, strict=True))


@pytest.mark.parametrize(
    ("qos", "asked", "seconds", "at_once"),
    [
        (None, {"cpu": 1}, None, 12),  # of the account
        (None, {"cpu": 5, "gres/gpu": 1}, None, 2),
        (None, {"mem": 8 * GIB}, 3600, None),
        ("busy", {"mem": 8 * GIB}, None, 6),
        ("busy", {"cpu": 4, "mem": 16 * GIB}, None, 4),
        ("busy", {"cpu": 4}, 600, 2),  # 40 CPU minutes of 90
        ("busy", {"cpu": 4}, 6000, 0),
        ("closed", {"cpu": 1}, None, 0),
    ],
)
def test_limits_of_what_runs_tell_how_many_tasks_there_are_at_a_time(
    policy: Policy, qos: str | None, asked: dict[str, int], seconds: int | None, at_once: int | None
) -> None:
    assert policy.bounds("site", None, None, qos).at_once(asked, seconds) == at_once


@pytest.mark.parametrize(
    ("qos", "asked", "seconds", "words"),
    [
        ("busy", {"cpu": 4, "mem": 600 << 20, "node": 1}, 600, []),
        ("busy", {"cpu": 8, "node": 2}, 60, []),
        ("busy", {"cpu": 10, "gres/gpu": 4, "node": 2}, None, ["5 CPUs on a node, and its", "2 GPUs on a node, and its"]),
        (
            "busy",
            {"cpu": 4, "mem": GIB, "node": 1},
            1800,
            ["30 min with 4 CPUs, and its account or QOS lets a job with that have 22 min",
             "30 min with 1.0G of memory, and its account or QOS lets a job with that have 5 min"],
        ),
        ("closed", {"cpu": 1}, None, ["a job, and its account or QOS lets none run"]),
    ],
)  # fmt: skip
def test_what_a_job_reserves_for_longer_than_it_may_is_told(
    policy: Policy, qos: str, asked: dict[str, int], seconds: int | None, words: list[str]
) -> None:
    found = too_much(asked, seconds, policy.bounds("site", None, None, qos))
    assert len(found) == len(words)
    assert all(text.startswith(word) for text, word in zip(found, words, strict=True)), found
