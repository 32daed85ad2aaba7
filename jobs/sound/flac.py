"""Flac: the length of a FLAC file whose header does not tell it, as one that was written into a pipe (RFC 9639)."""

from collections.abc import Iterator
from functools import cache

from jobs.sound.damage import CUT_SHORT, DamagedSound

# Bytes of a frame beside its samples, at most.
_FRAME_HEAD = 1024
_SIZES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}, **{code: 256 << code - 8 for code in range(8, 16)}}


def with_length(data: bytes) -> bytes:
    """The file with the number of its samples in its header; raises DamagedSound where it does not end with a frame."""
    info = data.index(b"fLaC") + 8
    largest = int.from_bytes(data[info + 2 : info + 4])
    channels, bits = (data[info + 12] >> 1 & 7) + 1, ((data[info + 12] & 1) << 4 | data[info + 13] >> 4) + 1
    # No frame is longer than its samples as they are, with one bit more where channels are subtracted.
    for position in _places(data, largest * channels * (bits + 1) // 8 + _FRAME_HEAD):
        total = _end_of_last_frame(data[position:], largest)
        if total is not None:
            patched = bytearray(data)
            patched[info + 13] = patched[info + 13] & 0xF0 | total >> 32 & 0x0F
            patched[info + 14 : info + 18] = (total & 0xFFFFFFFF).to_bytes(4)
            return bytes(patched)
    raise DamagedSound(f"cut short: its header tells no length, and at its end there is no whole frame{CUT_SHORT}")


def _places(data: bytes, last: int) -> Iterator[int]:
    """Where a frame may begin in the last bytes, from the end on."""
    position = len(data)
    while (position := data.rfind(b"\xff", max(0, len(data) - last), position)) >= 0:
        if data[position + 1 : position + 2] in (b"\xf8", b"\xf9"):
            yield position


def _end_of_last_frame(frame: bytes, largest: int) -> int | None:
    """The number of samples up to the end of this frame; None where it is none, or not whole."""
    if len(frame) < 16:
        return None
    is_variable, code, rate = frame[1] & 1, frame[2] >> 4, frame[2] & 15
    number, place = _number(frame)
    if code in (6, 7):
        size = int.from_bytes(frame[place : place + code - 5]) + 1
        place += code - 5
    else:
        size = _SIZES.get(code, 0)
    place += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if (
        not size
        or _crc(frame[:place], 0x07, 8) != frame[place]
        or _crc(frame[:-2], 0x8005, 16).to_bytes(2) != frame[-2:]
    ):
        return None
    return (number if is_variable else number * largest) + size


def _number(frame: bytes) -> tuple[int, int]:
    """The frame's number, or its first sample's, coded as UTF-8 codes characters; and where it ends."""
    first = frame[4]
    more = 0 if first < 0x80 else max(0, 7 - (first ^ 0xFF).bit_length())
    number = first if first < 0x80 else first & (0x3F >> more)
    for byte in frame[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    return number, 5 + more


def _crc(data: bytes, polynomial: int, bits: int) -> int:
    table, mask, value = _crc_table(polynomial, bits), (1 << bits) - 1, 0
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> bits - 8 ^ byte]
    return value


@cache
def _crc_table(polynomial: int, bits: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 else 0)
            value &= (1 << bits) - 1
        table.append(value)
    return table
