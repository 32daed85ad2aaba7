"""Seals: what a complete result says it was made of, in its first bytes, so that status can tell without HDF5 and any clock.

A seal is a hash of the plan's fingerprint and of which submission's values each row has. It is that of a run now, unless
another run's result has taken the file's place, or rows were done again since. A result that is not complete has none.
"""

import errno
import json
import re
from collections.abc import Iterable
from pathlib import Path

import xxhash

from jobs.storage.attempts import Ownership
from jobs.storage.records import Part
from jobs.storage.spans import Range, Spans

HDF5 = b"\x89HDF\r\n\x1a\n"
"""How every HDF5 file begins."""
_MARK = b"launcher-seal:"
_DIGITS = 32
NO_SEAL = _MARK + b"-" * _DIGITS
"""Stands in a result until it is complete."""
_SEAL = re.compile(re.escape(_MARK) + b"([0-9a-f]{%d})" % _DIGITS)
HEAD = 1 << 14
"""In so many bytes of a file its seal is: it is written as an attribute before any dataset, so into the first metadata."""


def by_submission(part: Part, owned: Iterable[Ownership]) -> dict[int, Spans]:
    """Which submission's values the rows of a part have, without those that have none."""
    found: dict[int, list[Range]] = {}
    for one in owned:
        if rows := one.rows.within(part.start, part.stop):
            found.setdefault(one.attempt.submission, []).extend(rows)
    return {number: Spans(ranges) for number, ranges in sorted(found.items())}


def seal_of(fingerprint: str, part: Part, owned: Iterable[Ownership]) -> str:
    """The seal of a part's result, made of these. Which attempt of a submission did a row does not matter: all did the same."""
    rows = [(number, str(spans)) for number, spans in by_submission(part, owned).items()]
    facts = json.dumps([fingerprint, part.name, part.start, part.stop, rows])
    return xxhash.xxh3_128_hexdigest(facts.encode())


def seal_of_rows(seal: str, start: int, stop: int) -> str:
    """The seal of a file that has these rows of a result in several files."""
    return xxhash.xxh3_128_hexdigest(f"{seal} {start} {stop}".encode())


def stamp(seal: str) -> bytes:
    """The bytes that stand in the result."""
    return _MARK + seal.encode()


def read_seal(path: Path) -> str | None:
    """The seal of a file; "" where it is a result that is not complete, None where it has no place for a seal."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))  # of a FIFO the opening would wait
    with path.open("rb") as file:
        return seal_in(file.read(HEAD))


def seal_in(head: bytes) -> str | None:
    """The same of the first bytes of a file."""
    found = _SEAL.search(head)
    return found[1].decode() if found else "" if NO_SEAL in head else None
