"""SampleFailures: failed samples counted by cause, small however many there are: what a beat says of them.

The same cause reads the same wherever it strikes: paths and numbers in a message do not count.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from jobs.kinds import SampleFailureKind, Unknown, known
from jobs.storage.spans import Spans

OTHER_MESSAGES = "(other messages; see the logs)"
_MOST_CAUSES = 20
_MOST_RANGES = 100
_MESSAGE_CHARACTERS = 500

_VARYING = (
    (re.compile(r"(?:\b[A-Za-z]+:)?(?:~|\.{1,2})?(?:/[^\s/:'\"(),]+)+/?"), "PATH"),
    (re.compile(r"\b[\w.-]+(?:/[\w.-]+)+"), "PATH"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "N"),
    (re.compile(r"\d+(?:\.\d+)?"), "N"),
)


# Numbers that name a cause.
_TELLING = re.compile(r"\b(?:exit code|exit status|signal|HTTP) \d+")


@lru_cache(maxsize=1024)
def normalise(message: str) -> str:
    """The message with paths and numbers replaced, but for those that name a cause: an exit code, a signal."""
    telling = " ".join(_TELLING.findall(message[:_MESSAGE_CHARACTERS]))
    for pattern, name in _VARYING:
        message = pattern.sub(name, message)
    return f"{message} {telling}" if telling else message


@dataclass(frozen=True)
class SampleFailures:
    """``samples`` samples that failed alike; ``message`` is that of the first, ``shards`` some of those that they are in."""

    kind: SampleFailureKind | Unknown
    message: str
    samples: int
    shards: Spans

    def to_json(self) -> list[Any]:
        return [self.kind, self.message, self.samples, str(self.shards)]

    @classmethod
    def from_json(cls, data: Iterable[Any]) -> Self:
        kind, message, samples, shards = data
        return cls(known(SampleFailureKind, kind), message, samples, Spans.parse(shards))


@dataclass
class _Cause:
    message: str
    samples: int = 0
    shards: set[int] = field(default_factory=set)


class FailureTally:
    """Counts failed samples as they come."""

    def __init__(self) -> None:
        self._causes: dict[tuple[SampleFailureKind | Unknown, str], _Cause] = {}

    def add(self, kind: SampleFailureKind | Unknown, message: str, shard: int, samples: int = 1) -> None:
        key = kind, normalise(message)
        if key not in self._causes and len(self._causes) >= _MOST_CAUSES:
            key, message = (kind, OTHER_MESSAGES), OTHER_MESSAGES
        cause = self._causes.setdefault(key, _Cause(message[:_MESSAGE_CHARACTERS]))
        cause.samples += samples
        cause.shards.add(shard)

    def groups(self) -> tuple[SampleFailures, ...]:
        """By cause; of the shards, the first hundred ranges."""
        return tuple(
            SampleFailures(
                kind, cause.message, cause.samples, Spans(list(Spans.of_numbers(cause.shards))[:_MOST_RANGES])
            )
            for (kind, _), cause in self._causes.items()
        )
