"""The command ``launcher``: sees that the packages ``launcher`` and ``jobs`` are those beside this file, and runs it.

It lies outside of both, because other projects have packages of these names, and Python takes what is first on its path.
"""

import os
import signal
import sys
from importlib.util import find_spec

_HERE = os.path.dirname(os.path.realpath(__file__))


def hidden() -> str | None:
    """What hides one of our packages, and what to do about it; None where nothing does."""
    for name in ("launcher", "jobs"):
        found = _location(name)
        if found is None:
            return f"{name}: the package is not beside {__file__}: install the launcher again"
        if os.path.dirname(os.path.realpath(found)) != os.path.join(_HERE, name):
            return (
                f"{name}: {found} comes first on Python's path and hides the package of that name in {_HERE}. "
                "Rename it, or take its folder off PYTHONPATH (a script's own folder comes first, too)"
            )
    return None


def _location(name: str) -> str | None:
    """The file that ``import name`` takes, or would take; a folder without ``__init__.py`` stands for one in it."""
    spec = find_spec(name)
    if spec is None:
        return None
    return spec.origin or os.path.join(next(iter(spec.submodule_search_locations or [""])), "__init__.py")


def _nowhere() -> str | None:
    """That the working directory is gone, where relative paths and imports begin."""
    try:
        os.getcwd()
    except OSError:
        return "the working directory is gone: cd to another one"
    return None


def main() -> int:
    """Runs a command; returns the exit code, 2 where one of our packages is hidden."""
    try:
        return _run()
    except KeyboardInterrupt:  # while modules are imported; and a second one, while the first is told
        return 130
    finally:
        # Python itself takes a while to end, and would show a traceback of its own.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run() -> int:
    if problem := _nowhere() or hidden():
        print(f"launcher: {problem}", file=sys.stderr)
        if "--json" in sys.argv:
            import json  # takes 3 ms of every start

            print(json.dumps({"schema": 1, "error": problem}, indent=1))
        return 2
    from jobs.machine import inherited_signals
    from jobs.machine.leftovers import leave_soon
    from launcher.cli import main as run

    inherited_signals.prepare()
    return leave_soon(run())


if __name__ == "__main__":
    sys.exit(main())
