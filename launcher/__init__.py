"""Login node: plans, submits, follows, repairs and gathers runs over large datasets on Slurm.

For users' scripts and notebooks: ``launcher.plan``, ``launcher.map``, ``launcher.open``; ``from launcher import results``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launcher import results
    from launcher.python.planning import map as map  # noqa: A004 - they are called as launcher.map, launcher.open
    from launcher.python.planning import open as open  # noqa: A004
    from launcher.python.planning import plan
    from launcher.python.run import Run

__version__ = "0.2.0"
# Without map and open, which `import *` would put over Python's own.
__all__ = ["Run", "__version__", "plan", "results"]

# Not for type checkers, which would take it that every name is there.
if not TYPE_CHECKING:
    import sys
    from types import ModuleType

    _PLANNING = "launcher.python.planning"
    _HOMES = {"Run": "launcher.python.run", "map": _PLANNING, "open": _PLANNING, "plan": _PLANNING}

    def __getattr__(name: str) -> Any:
        """What users import from here, when it is first asked for; raises ImportError naming what hides our package jobs."""
        if name != "results" and name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        from shardrun import hidden

        if problem := hidden():
            raise ImportError(problem)
        return import_module("launcher.results") if name == "results" else getattr(import_module(_HOMES[name]), name)

    class _Package(ModuleType):
        """``launcher.plan`` is the function, also once the package of that name is imported, which Python would put there."""

        @property
        def plan(self) -> Any:
            return __getattr__("plan")

        @plan.setter
        def plan(self, module: ModuleType) -> None:
            pass

    sys.modules[__name__].__class__ = _Package
