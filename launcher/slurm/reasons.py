"""Reasons: why Slurm lets a job wait, in a person's words: what it means, and what to type. Pure.

The codes are those of JOB REASON CODES in squeue(1). Those that pass by themselves (Priority, Resources, Dependency,
BeginTime) have no advice.
"""

import re

_SHOW = "see `scontrol show partition`, and set"
_ADVICE: tuple[tuple[str, str], ...] = (
    (
        "launch failed requeued held",
        "a node could not start it (a prolog, a mount, its user), and Slurm holds it: `scontrol release JOBID` lets it try "
        "again; tell the administrators if it comes back",
    ),
    ("JobHeldUser", "held by its user (--hold): `scontrol release JOBID`"),
    ("JobHeldAdmin|job requeued in held state", "held by an administrator: ask them; a user cannot release it"),
    ("PartitionTimeLimit|QOSMaxWallDurationPerJobLimit|AssocMaxWallDurationPerJobLimit",
     "it asks for more time than is allowed, and will never start: `launcher cancel`, then rerun with a smaller "
     "--set slurm.time"),
    ("PartitionNodeLimit|BadConstraints|PartitionConfig",
     f"no node there is as it asks (CPUs, memory, GPUs, constraint): {_SHOW} less of them in a rerun"),
    ("PartitionDown|PartitionInactive", "the partition is closed: wait, or rerun with another --set slurm.partition"),
    ("ReqNodeNotAvail.*|NodeDown|Nodes required for job are DOWN.*",
     "nodes that it could use are down or reserved, for a maintenance perhaps (`scontrol show reservation`): a shorter "
     "slurm.time may fit before it"),
    ("Reservation|ReservationDeleted", "its reservation has not begun or is gone: `scontrol show reservation`"),
    ("InvalidAccount|InvalidQOS|AccountNotAllowed|AccountingPolicy|QOSNotAllowed",
     "account or QOS are not valid there: `sacctmgr show assoc user=$USER`, then rerun with --set slurm.account or slurm.qos"),
    ("(QOS|Assoc)(Max|Grp)\\w*SubmitJob\\w*", "you have as many jobs submitted as you may; it goes on as others end"),
    ("AssocGrp\\w*Minutes\\w*|QOSGrp\\w*Minutes\\w*|QOSUsageThreshold",
     "the account's share of time is used up: `sshare`; it starts when more is granted, or with another --set slurm.account"),
    ("(QOS|Assoc)(Max|Grp)\\w*", "your or your group's limit of what runs at a time is reached; it goes on as others end"),
    ("DependencyNeverSatisfied", "what it waits for has failed, so it will never start: `launcher cancel`, then rerun"),
    ("Licenses", "waits for a licence: `scontrol show licenses`"),
)  # fmt: skip


def queue_advice(reason: str) -> str | None:
    """What to do about jobs that wait for this reason; None where it passes by itself."""
    return next((advice for pattern, advice in _ADVICE if re.fullmatch(pattern, reason)), None)
