"""Login node: plans, submits, follows, repairs and gathers runs over large datasets on Slurm.

For users' scripts: ``from launcher import results``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher import results

__version__ = "0.2.0"
__all__ = ["__version__", "results"]

# Not for type checkers, which would take it that every name is there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Results, imported when they are first asked for; raises ImportError naming what hides our package jobs."""
        if name != "results":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        from shardrun import hidden

        if problem := hidden():
            raise ImportError(problem)
        return import_module("launcher.results")
