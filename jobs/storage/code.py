"""Code: the files that a Job is made of, as they were when its run was planned.

Planning finds them; whatever goes on with the run, array tasks included, compares them by content: results of two versions
of the code must not end up in one without a word.
"""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import xxhash

from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir

Code: TypeAlias = dict[str, dict[str, str]]
"""Name of a file, as Python finds it (``package/module.py``) -> its ``path`` and the ``hash`` of its content."""

_NAMED = 3


def describe_file(path: str) -> dict[str, str]:
    """The entry of a file as it is now."""
    return {"path": path, "hash": xxhash.xxh3_128_hexdigest(Path(path).read_bytes())}


def fingerprint(code: Code) -> str:
    """A hash of all files and their names, wherever they lie; empty where there are none, or where nobody knows them."""
    listed = "".join(f"{name}\0{code[name]['hash']}\0" for name in sorted(code))
    return xxhash.xxh3_64_hexdigest(listed.encode(errors="surrogateescape")) if code else ""


def changed(known: Code, now: Code | None = None) -> list[str]:
    """Names of the files whose content is another ``now``, that are gone, or new; None: the known files are looked at.

    That is enough to see any change: a module that is new is imported by one that has changed.
    """
    hashes = _now(known) if now is None else {name: entry["hash"] for name, entry in now.items()}
    return sorted(name for name in {**known, **hashes} if name not in known or known[name]["hash"] != hashes.get(name))


def _now(known: Code) -> Mapping[str, str]:
    hashes = {}
    for name, entry in known.items():
        try:
            hashes[name] = describe_file(entry["path"])["hash"]
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
            if not os.path.isdir(os.path.dirname(entry["path"])):
                hashes[name] = entry["hash"]  # not to be seen from here, as in a container: nobody knows
    return hashes


def told(plan: Plan, names: Sequence[str]) -> str:
    """That these files have changed, in words."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(plan.known_since))
    return f"{', '.join(names[:_NAMED])}{more} changed since the plan of {when}"


def refusal(run: RunDir, plan: Plan) -> str | None:
    """Why nothing more is to be computed of a run whose code has changed, and the ways on; None where it has not."""
    names = changed(plan.code)
    if not names:
        return None
    return (
        f"{told(plan, names)}: results of both would not fit together. Where those that are there stay right: "
        f"launcher rerun {run.argument} --keep-results; to compute everything again: launcher rerun {run.argument} --fresh"
    )
