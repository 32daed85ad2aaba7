"""TarHeader: one block of a tar, which says what the file behind it is called, and how long it is."""

from typing import NamedTuple
from zlib import adler32

BLOCK = 512
_NO_HEADER = "is no header of a tar: it is damaged, or no tar"


class TarHeader(NamedTuple):
    """What a block tells by itself: long names and sizes may stand in blocks before it. ``kind``: the type flag."""

    name: bytes
    size: int
    kind: bytes


def parse_header(block: bytes) -> TarHeader:
    """Raises ValueError for a block that is no header of a tar, or is damaged."""
    told = _number(block[148:156])
    # The low half of adler32 is the sum of all bytes, and takes a tenth of the time of adding them up. In the sum that a
    # header tells, the place of the sum itself is spaces.
    if adler32(block) & 0xFFFF != (told + sum(block[148:156]) - 255) % 65521 and told != _signed_sum(block):
        raise ValueError(_NO_HEADER)
    name = block[:100].rstrip(b"\0")
    if block[345] and block[257:263] == b"ustar\0":  # GNU's own form has times there
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    return TarHeader(name, _number(block[124:136]), block[156:157])


def body_size(size: int) -> int:
    """The bytes that a file of that size takes in a tar, behind its header."""
    return (size + BLOCK - 1) // BLOCK * BLOCK


def _number(field: bytes) -> int:
    """Octal digits, or where they do not suffice, the number itself, never one below 0. Raises ValueError."""
    if field[0] & 0x80:
        if field[0] == 0xFF:
            raise ValueError(_NO_HEADER)
        return int.from_bytes(field[1:], "big") | (field[0] & 0x7F) << 8 * (len(field) - 1)
    digits = field.strip(b"\0 ") or b"0"
    if not digits.isdigit():  # int() takes signs and underscores too
        raise ValueError(_NO_HEADER)
    return int(digits, 8)


def _signed_sum(block: bytes) -> int:
    """As old programs add: with bytes from -128 to 127."""
    rest = block[:148] + b" " * 8 + block[156:]
    return sum(byte - 256 * (byte > 127) for byte in rest)
