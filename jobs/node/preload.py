"""Preload: imported by the fork server before it forks anything, and by nobody else.

It ties the fork server to the supervisor and imports, once for all processes of the node, what the Job needs.
A failing import is left for the process to meet again, where it is reported.
"""

import importlib
import os
import sys
from types import ModuleType

from jobs.node import lifeline

JOB = "LAUNCHER_JOB"
SUPERVISOR = "LAUNCHER_SUPERVISOR"
FOLDER = "LAUNCHER_JOB_FOLDER"


def _preload() -> None:
    supervisor = os.environ.pop(SUPERVISOR, None)
    if supervisor is None:
        return
    os.environ.pop("PYTHONSAFEPATH", None)
    lifeline.bind(int(supervisor))
    lifeline.ignore_signals()
    folder = os.environ.pop(FOLDER, "")
    if folder:
        sys.path.append(folder)
    import_module("jobs.node.process")
    module_name, _, class_name = os.environ.pop(JOB, "").partition(":")
    module = import_module(module_name)
    for name in getattr(getattr(module, class_name, None), "preload", ()):
        import_module(name)


def import_module(name: str) -> ModuleType | None:
    """The module, or None where importing it raises anything at all: user code, whose error the process reports."""
    try:
        return importlib.import_module(name)
    except Exception:
        return None


_preload()
