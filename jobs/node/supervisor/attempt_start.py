"""How an attempt starts: its name, and the record of where it runs, on what and with what."""

import os
import sys
from collections.abc import Mapping
from typing import NamedTuple

from jobs.machine import allocation
from jobs.machine.process_identity import ProcessIdentity
from jobs.machine.versions import installed_versions
from jobs.storage.code import fingerprint
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptStart
from jobs.storage.submission import Submission


class Given(NamedTuple):
    """What a task may use; ``memory`` in bytes."""

    memory: int = 0
    cpus: int = 0
    gpus: int = 0


NOTHING_KNOWN = Given()


def new_name(submission: int, worker: int) -> str:
    """The name of a new attempt, by chance: two starts of one worker never write to the same files."""
    return f"{submission:04d}-{worker:05d}-{os.urandom(4).hex()}"


def start_record(
    plan: Plan,
    submission: Submission,
    index: int,
    worker: int,
    begun: float,
    devices: tuple[str, ...],
    environment: Mapping[str, str],
    given: Given,
) -> AttemptStart:
    """Of this process, in which the attempt has begun."""
    return AttemptStart(
        submission=submission.number,
        index=index,
        worker=worker,
        time=begun,
        host=allocation.host(environment),
        process=ProcessIdentity.current().to_json(),
        job_id=allocation.job_id(environment),
        restart=allocation.restarts(environment),
        devices=devices,
        workers=submission.node.workers,
        executable=sys.executable,
        versions=installed_versions(),
        code=fingerprint(plan.code),
        plan=plan.fingerprint,
        native_id=allocation.native_id(environment),
        memory=given.memory,
        cpus=given.cpus,
        gpus=given.gpus,
        deadline=allocation.end_time(environment),
        generation=plan.generation,
    )
