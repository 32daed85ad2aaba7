"""SampleFailures: failed samples counted by cause, small however many there are: what a beat says of them.

The same cause reads the same wherever it strikes: paths and numbers in a message do not count.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from jobs.kinds import SampleFailureKind, Unknown, known
from jobs.storage.spans import GrowingSpans, Spans

OTHER_MESSAGES = "(other messages; see launcher errors)"
_MOST_CAUSES = 20
_MOST_RANGES = 100
_MOST_EXAMPLES = 3
_MESSAGE_CHARACTERS = 500

_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_OF_NUMBERS = str.maketrans("", "", "0123456789.")


# Numbers that name a cause.
_TELLING = re.compile(r"\b(?:exit code|exit status|signal|HTTP) \d+")


@lru_cache(maxsize=1024)
def normalise(message: str) -> str:
    """What is the same in messages of one cause: no words with a slash, no numbers, and no end where it is long.

    Numbers that name a cause, exit codes and signals, stay.

    It takes time in the length only, whatever is in it: a run may have a million messages that all differ.
    """
    message = message[:_MESSAGE_CHARACTERS]
    telling = " ".join(_TELLING.findall(message))
    if "/" in message:
        message = " ".join("PATH" if "/" in word else word for word in message.split())
    if "0x" in message:
        message = _HEXADECIMAL.sub("", message)
    return message.translate(_OF_NUMBERS) + telling


@dataclass(frozen=True)
class SampleFailures:
    """``samples`` samples that failed alike; ``message`` is that of the first, ``examples`` are the names of some.

    They are in ``shards``, which may be too many where these lie in very many places.
    """

    kind: SampleFailureKind | Unknown
    message: str
    samples: int
    shards: Spans
    examples: tuple[str, ...] = ()

    def to_json(self) -> list[Any]:
        return [self.kind, self.message, self.samples, str(self.shards), self.examples]

    @classmethod
    def from_json(cls, data: Iterable[Any]) -> Self:
        kind, message, samples, shards, *more = data
        return cls(known(SampleFailureKind, kind), message, samples, Spans.parse(shards), *map(tuple, more[:1]))


@dataclass
class _Cause:
    message: str
    samples: int = 0
    shards: GrowingSpans = field(default_factory=lambda: GrowingSpans(_MOST_RANGES))
    examples: list[str] = field(default_factory=list)


class FailureTally:
    """Counts failed samples as they come, in the same memory however many there are."""

    def __init__(self, name: Callable[[int], str] = "row {}".format) -> None:
        """``name`` is how the sample of a row is called where it is an example."""
        self._name = name
        self._causes: dict[tuple[SampleFailureKind | Unknown, str], _Cause] = {}

    def add(self, kind: SampleFailureKind | Unknown, message: str, row: int, shard: int) -> None:
        key = kind, normalise(message)
        if key not in self._causes and len(self._causes) >= _MOST_CAUSES:
            key, message = (kind, OTHER_MESSAGES), OTHER_MESSAGES
        cause = self._causes.get(key)
        if cause is None:
            cause = self._causes[key] = _Cause(message[:_MESSAGE_CHARACTERS])
        cause.samples += 1
        cause.shards.add(shard)
        if len(cause.examples) < _MOST_EXAMPLES:
            cause.examples.append(self._name(row))

    def groups(self) -> tuple[SampleFailures, ...]:
        """By cause, in the order in which these came."""
        return tuple(
            SampleFailures(kind, cause.message, cause.samples, cause.shards.spans(), tuple(cause.examples))
            for (kind, _), cause in self._causes.items()
        )
