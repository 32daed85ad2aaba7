"""Reasons: why Slurm lets a job wait, in a person's words: what it means, and what to type. Pure.

The codes are those of Slurm's src/common/job_state_reason.c (before 23.02 slurm_protocol_defs.c), and the sentences that it
puts in their place.
"""

import re

_SEE = "`scontrol show partition` tells what there is"
_RERUN = "`launcher cancel {run}`, then `launcher rerun {run}` with"
# The first that fits counts: those of one job, which are never satisfied, come before those of all jobs together.
_WORDS: tuple[tuple[str, str], ...] = (
    # --- held
    (
        "launch failed requeued held|JobLaunchFailure",
        "a node could not start it (a prolog, a mount, its user), and Slurm holds it: `scontrol release JOBID` lets it try "
        "again; tell the administrators if it comes back",
    ),
    ("user env retrieval failed requeued held",
     "a node could not read its user's environment, and Slurm holds it: `scontrol release JOBID`"),
    ("JobHoldMaxRequeue",
     "Slurm put it back into the queue as often as it does (max_batch_requeue), and holds it now: `launcher logs {run} SHARD` "
     "tells why it did not start; `scontrol release JOBID` lets it try again"),
    ("JobHeldUser", "held by its user (--hold): `scontrol release JOBID`"),
    ("JobHeldAdmin|job requeued in held state", "held by an administrator: ask them; a user cannot release it"),
    # --- what it asks for is more, or less, than one job may have
    ("PartitionTimeLimit|(QOS|Assoc)MaxWallDurationPerJobLimit|AssociationTimeLimit|QOSTimeLimit",
     f"it asks for more time than is allowed, and will never start: {_RERUN} a smaller --set slurm.time"),
    ("(QOS|Assoc)Max\\w*Minutes\\w*",
     f"its time times its CPUs (or memory, GPUs) is more than one job may use, and it will never start: {_RERUN} a smaller "
     "--set slurm.time or node.processes"),
    ("(QOS|Assoc)Max\\w*Per(Job|Node)(Limit)?|MaxMemPerLimit",
     f"it asks for more CPUs, memory, GPUs or nodes than one job may have, and will never start: {_RERUN} a smaller "
     "--set node.processes, slurm.mem or slurm.gpus_per_task; limits: `sacctmgr show qos`, `sacctmgr show assoc user=$USER`"),
    ("QOSMin\\w+",
     f"it asks for less than its QOS is for (`sacctmgr show qos format=name,mintres`), and will never start: {_RERUN} more, "
     "or with another --set slurm.qos"),
    ("PartitionNodeLimit|BadConstraints|PartitionConfig",
     f"no node there is as it asks (CPUs, memory, GPUs, constraint): {_SEE}; {_RERUN} less of them"),
    ("Constraints", f"no node is as it asks (slurm.constraint) for now: `sinfo -o '%N %f'`; it waits, or {_RERUN} another"),
    ("DeadLine", f"it cannot end before its --deadline, and will never start: {_RERUN} a later --set slurm.deadline"),
    ("InvalidAccount|InvalidQOS|AccountNotAllowed|AccountingPolicy|QOSNotAllowed|Job's (account|QOS) not permitted.*",
     "account or QOS are not valid there: `sacctmgr show assoc user=$USER`, then "
     "`launcher rerun {run}` with --set slurm.account or slurm.qos"),
    # --- limits on jobs together
    ("(QOS|Assoc)(Max|Grp)\\w*SubmitJob\\w*|MaxSubmitJobsPerAccount",
     "you have as many jobs submitted as you may; it goes on as others end"),
    ("(QOS|Assoc)Grp\\w*RunMinutes\\w*",
     "what runs has reserved all the time that your group may have at once; it goes on as that ends, sooner with a smaller "
     "--set slurm.time"),
    ("(QOS|Assoc)Grp(\\w*Minutes\\w*|WallLimit)|QOSUsageThreshold",
     "the account's share of time is used up: `sshare`; it starts when more is granted, or with another --set slurm.account"),
    ("(QOS|Assoc)(Max|Grp)\\w*|(Association|QOS)(Job|Resource)Limit|Max\\w+PerAccount",
     "your or your group's limit of what runs at a time is reached; it goes on as others end"),
    ("JobArrayTaskLimit", "as many array tasks run as may (slurm.array_parallelism); it goes on as these end"),
    # --- what is not there now
    ("PartitionDown|PartitionInactive", "the partition is closed: wait, or `launcher rerun {run}` with another "
     "--set slurm.partition"),
    ("ReqNodeNotAvail.*|NodeDown|Nodes required for job are DOWN.*|FrontEndDown",
     "nodes that it could use are down or reserved, for a maintenance perhaps (`scontrol show reservation`): a shorter "
     "slurm.time may fit before it"),
    ("Reservation(Deleted|Invalid)",
     f"its reservation is gone or not for it (`scontrol show reservation`), and it will never start: {_RERUN} another "
     "--set slurm.reservation"),
    ("Reservation", "its reservation has not begun: `scontrol show reservation`"),
    ("Licenses", "waits for a licence: `scontrol show licenses`"),
    ("BurstBufferOperation", "its burst buffer failed (`scontrol show burst`): tell the administrators"),
    ("BurstBuffer\\w+", "waits for its burst buffer: `scontrol show burst`"),
    ("Power\\w+", "the cluster has no power left for more nodes; it starts as others end"),
    ("Block\\w+", "the machine is at work on the block of nodes that it needs; tell the administrators if it stays so"),
    ("SystemFailure", "Slurm, a file system or the network failed: tell the administrators"),
    # --- its turn
    ("DependencyNeverSatisfied", "what it waits for has failed, so it will never start: `launcher cancel {run}`, then "
     "`launcher rerun {run}`"),
    ("Dependency", "comes after another job, as the finalize job does after the array: `scontrol show job JOBID` names it "
     "(Dependency)"),
    ("BeginTime",
     "not before its time: slurm.begin, or some minutes after Slurm put it back into the queue; `scontrol show job JOBID` "
     "tells it (StartTime)"),
    ("Priority", "jobs with a higher priority come first; it starts by itself: `squeue --start` guesses when"),
    ("Resources", "waits for room on the nodes; it starts by itself: `squeue --start` guesses when"),
    ("SchedDefer|FedJobLock", "the scheduler has not come to it; it starts by itself"),
    ("Prolog|Cleaning", "a node prepares for it, or cleans up after it; it goes on by itself"),
    # --- it has ended
    ("NonZeroExitCode|RaisedSignal.*|TimeLimit|InactiveLimit|OutOfMemory", "it has ended; what follows: "
     "`launcher status {run}`"),
)  # fmt: skip


def queue_advice(reason: str) -> str | None:
    """What it means that jobs wait for this reason, and what to do; None where it says nothing, or is not known.

    ``{run}`` in it is for the RUN argument.
    """
    plain = reason.replace("_", " ")
    return next((words for pattern, words in _WORDS if re.fullmatch(pattern, plain)), None)
