"""Compute node: the Job interface, the built-in jobs, what runs inside an array task; and the same as a library.

For users: ``from jobs import Job, Context, Sample, Hierarchy``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.hierarchy import Hierarchy
    from jobs.job import Context, Job
    from jobs.storage.samples import Sample

__all__ = ["Context", "Hierarchy", "Job", "Sample"]

# Not for type checkers, which would take it that every name is there.
if not TYPE_CHECKING:
    _HOMES = {
        "Context": "jobs.job",
        "Hierarchy": "jobs.hierarchy",
        "Job": "jobs.job",
        "Sample": "jobs.storage.samples",
    }

    def __getattr__(name: str) -> Any:
        """What users import from here, when it is first asked for: it takes numpy, and the package itself nothing."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
