"""Ogg: the links of a chain of Ogg streams, in one file (RFC 3533).

Its pages have checksums, and the last one of a stream says that it is.
"""

import zlib

from jobs.sound.damage import CUT_SHORT, DamagedSound

_BEGINS, _ENDS = 2, 4
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def links(data: bytes) -> list[bytes]:
    """What each link is, by itself an Ogg file. Raises DamagedSound where a page is damaged, or the last one is missing."""
    starts: list[int] = []
    streams: set[bytes] = set()
    position = 0
    while position < len(data):
        head = data[position : position + 27]
        if not head.startswith(b"OggS"[: len(head)]):
            raise DamagedSound(f"damaged: no page of an Ogg begins at byte {position}{CUT_SHORT}")
        flags, stream = head[5:6], head[14:18]
        table = data[position + 27 : position + 27 + int.from_bytes(head[26:27])]
        end = position + 27 + len(table) + sum(table)
        if len(head) < 27 or len(table) < head[26] or end > len(data):
            raise DamagedSound(f"cut short: its last page is not whole{CUT_SHORT}")
        if _checksum(data[position : position + 22] + bytes(4) + data[position + 26 : end]) != head[22:26]:
            raise DamagedSound(f"damaged: the page of an Ogg at byte {position} does not match its checksum{CUT_SHORT}")
        if flags[0] & _BEGINS:
            if not streams:
                starts.append(position)
            streams.add(stream)
        if flags[0] & _ENDS:
            streams.discard(stream)
        position = end
    if streams:
        raise DamagedSound(f"cut short: no page says that it is the last{CUT_SHORT}")
    return [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def _checksum(page: bytes) -> bytes:
    """CRC-32 as in an Ogg: zlib's of the bits in the opposite order, without what that begins and ends with."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return mirrored.to_bytes(4).translate(_MIRRORED)
