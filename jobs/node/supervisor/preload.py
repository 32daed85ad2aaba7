"""Preload: what the fork server imports before it forks anything, once for all processes of the node.

A failing import is left for the process to meet again, where it is reported.
"""

import importlib
from types import ModuleType

from jobs import job_folder
from jobs.job import Job
from jobs.storage.records import JobSpec


def preload(job: JobSpec) -> None:
    """Imports what the children of this Job need: the node's own modules, the Job's, and those that it names."""
    job_folder.put_on_path(job.folders)
    import_module("jobs.node.process.process")
    module_name, _, class_name = job.path.partition(":")
    module = import_module(module_name)
    cls = getattr(module, class_name, None)
    if getattr(cls, "process_sample", Job.process_sample) is not Job.process_sample:
        import_module("jobs.node.process.sample_process")
    for name in getattr(cls, "preload", ()):
        import_module(name)


def import_module(name: str) -> ModuleType | None:
    """The module, or None where importing it raises anything: user code, whose error the process reports."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):
        return None
