"""Task settings: what the crew of an array task is made with, as this node has it."""

import os
import tempfile
from pathlib import Path

from jobs.machine import allocation, devices, memory
from jobs.machine.scratch import make_scratch, scratch_folder
from jobs.node.process.run_backend import RunBackend
from jobs.node.supervisor.children import CrewSettings
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import NodeSettings
from jobs.storage.upstreams import Upstream


def task_scratch(folder: str | None) -> Path:
    """The task's own folder; in the one that the config names it is that of all temporary files, the Job's too."""
    if folder is None:
        return make_scratch(allocation.scratch())
    made = make_scratch(scratch_folder(folder))
    os.environ["TMPDIR"] = tempfile.tempdir = str(made)
    return made


def task_settings(
    run: RunDir, plan: Plan, node: NodeSettings, attempt: str, cpus: int, scratch: Path, usable: tuple[int, ...]
) -> CrewSettings:
    """Those of the crew of an attempt: its devices, of the ``usable`` GPUs, and what threads and memory there are for them."""
    assigned = devices.process_devices(node, usable)
    unused = len(usable) - len(assigned) * (node.gpus_per_process or 0)
    if node.gpus_per_process and unused > 0:
        print(f"{unused} of the {len(usable)} GPUs of this task are left over (node.gpus_per_process)", flush=True)
    return CrewSettings(
        backend=RunBackend(
            run, plan.job, plan.rows, attempt, plan.manifest_digests, plan.manifest.get("file"), Upstream.of(plan)
        ),
        devices=assigned,
        workers=node.workers,
        threads=devices.compute_threads(assigned, node.workers, cpus),
        memory=node.memory or memory.task_limit(),
        scratch=scratch,
        seed=plan.seed,
        sample_timeout=node.sample_timeout,
        poison=node.poison_batches,
        in_flight=node.in_flight,
        gpus=devices.gpu_groups(node, usable),
    )
