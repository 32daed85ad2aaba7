"""Versions: what attempts computed with that is another version than what planned the run. Pure.

That is no mistake: a container has its own Python. But it may be why results, or errors, are not as expected.
"""

from collections.abc import Iterable, Mapping

from jobs.storage.attempts import Attempt


def other_versions(planned: Mapping[str, str], attempts: Iterable[Attempt]) -> tuple[str, ...]:
    """In words, by name: ``python 3.12.1 (planned with 3.11.7)``."""
    had = {pair for attempt in attempts if attempt.start for pair in attempt.start.versions.items()}
    found: dict[str, list[str]] = {}
    for name, version in sorted(had):
        if name in planned and _is_other(name, version, planned[name]):
            found.setdefault(name, []).append(version)
    return tuple(f"{name} {' and '.join(versions)} (planned with {planned[name]})" for name, versions in found.items())


def _is_other(name: str, version: str, planned: str) -> bool:
    if name == "python":  # within a minor version there are corrections only
        return version.split(".")[:2] != planned.split(".")[:2]
    if "+" not in version or "+" not in planned:  # one of them does not say how it was built
        return version.partition("+")[0] != planned.partition("+")[0]
    return version != planned
