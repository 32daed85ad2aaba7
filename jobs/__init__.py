"""Compute node: the Job interface, the built-in jobs, what runs inside an array task; and the same as a library."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.hierarchy import Hierarchy

__all__ = ["Hierarchy"]


def __getattr__(name: str) -> Any:
    """Hierarchy, imported when it is first asked for: it takes numpy, and the package itself nothing."""
    if name == "Hierarchy":
        from jobs.hierarchy import Hierarchy

        return Hierarchy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
