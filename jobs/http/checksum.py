"""Checksum: what a file must hash to, as a manifest says it."""

import hashlib
import re
from dataclasses import dataclass
from typing import IO, Any

_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}


@dataclass(frozen=True)
class Checksum:
    """``digest`` is hexadecimal."""

    algorithm: str
    digest: str

    @classmethod
    def of(cls, text: str) -> "Checksum":
        """``sha256:4355a4...``, or the digits alone, whose number tells the algorithm; raises ValueError."""
        name, _, digest = text.strip().lower().rpartition(":")
        name = name or next((known for known, digits in _DIGITS.items() if digits == len(digest)), "")
        if _DIGITS.get(name) != len(digest) or not re.fullmatch("[0-9a-f]+", digest):
            raise ValueError(f"checksum {text!r} is not valid; valid: {', '.join(_DIGITS)}, as name:hexadecimal digits")
        return cls(name, digest)

    def matches(self, file: IO[bytes]) -> bool:
        """Whether the file, from where it stands to its end, is the one."""
        found = hashlib.file_digest(file, lambda: new_hash(self.algorithm))  # type: ignore[arg-type]
        return found.hexdigest() == self.digest


def new_hash(algorithm: str) -> Any:
    """A hash object; also of md5 where the system forbids it for secrets."""
    return hashlib.new(algorithm, usedforsecurity=False)
