"""Times: how long the samples of an attempt took, so far."""

from typing import Any

from jobs.storage.durations import Durations
from jobs.storage.records import Commit


class Times:
    """Of loading, of processing, and of both of them."""

    def __init__(self) -> None:
        self._load, self._process, self._both = Durations(), Durations(), Durations()

    def add(self, commit: Commit) -> None:
        samples = commit.stop - commit.start
        self._load.add(commit.load_seconds, samples)
        self._process.add(commit.seconds, samples)
        self._both.add(commit.load_seconds + commit.seconds, samples)

    def by_name(self) -> dict[str, Any]:
        """As of now, by the fields of a beat; what comes later does not change them."""
        return {"load": self._load.copy(), "process": self._process.copy(), "both": self._both.copy()}
