"""Mpeg: the recordings in an MP3 file, counted frame by frame (ISO/IEC 11172-3, 2.4.1, and 13818-3).

An MP3 is a row of frames that nothing holds together. A tag in a first frame, Xing, Info or VBRI, may say how many there
are; without one, decoders guess by the first frame's bit rate, and stop there.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from jobs.sound.damage import CUT_SHORT, JUNK, DamagedSound

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_FIRST, _SECOND, _THIRD = 3, 2, 1  # layers, as headers have them
# kbit/s by MPEG 1 or not, and layer.
_KBITS = {
    (True, _FIRST): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, _SECOND): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, _THIRD): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, _FIRST): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, _SECOND): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, _THIRD): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
# The bit rate of a frame that has room for a tag, 128 kbit/s or so, and that it has no checksum.
_ROOM, _NO_CHECKSUM = 9 << 12, 1 << 16


@dataclass(frozen=True)
class _Header:
    """``length`` of the frame; its ``samples``; where its ``tag`` would be; ``kind``: what all frames of a file share."""

    length: int
    samples: int
    tag: int
    kind: tuple[int, int, int]


@lru_cache(maxsize=4096)
def _header(word: int) -> _Header | None:
    """What the first four bytes of a frame say; None where they are no such thing."""
    version, layer, bits, rate = word >> 19 & 3, word >> 17 & 3, word >> 12 & 15, word >> 10 & 3
    if word >> 21 != 0x7FF or version == 1 or layer == 0 or bits in (0, 15) or rate == 3:
        return None
    first, hertz, padding = version == 3, _RATES[version][rate], word >> 9 & 1
    bitrate = _KBITS[first, layer][bits - 1] * 1000
    if layer == _FIRST:
        length = (12 * bitrate // hertz + padding) * 4
    else:
        length = (144 if first or layer == _SECOND else 72) * bitrate // hertz + padding
    mono = word >> 6 & 3 == 3
    side = (17 if mono else 32) if first else (9 if mono else 17)
    samples = 384 if layer == _FIRST else 1152 if first or layer == _SECOND else 576
    return _Header(length, samples, 4 + side, (version, layer, hertz))


@dataclass
class _Recording:
    """Frames of one recording, from ``start`` to ``stop``; ``told``: how many its tag says that there are."""

    header: _Header
    start: int
    stop: int
    frames: int
    told: int | None


def recordings(data: bytes, guess: int) -> list[bytes]:
    """Each recording by itself, with a tag that says how many frames it has. Raises DamagedSound where some are missing.

    ``guess`` is how many samples the decoder sees in the file; one recording alone of which that is right needs no tag.
    """
    found: list[_Recording] = []
    for position, header in _frames(data):
        told = _tag(data, position, header)
        if told is not None or not found:
            found.append(_Recording(header, position, position, -1 if told is not None else 0, told))
        found[-1].stop = position + header.length
        found[-1].frames += 1
    if not found:
        raise DamagedSound(f"damaged: there is no frame of an MP3{CUT_SHORT}")
    for one in found:
        if one.told is not None and one.frames < one.told - 1:
            raise DamagedSound(f"cut short, it has {one.frames} of {one.told} frames{CUT_SHORT}")
    if len(found) == 1 and found[0].frames * found[0].header.samples == guess:
        return [data]
    return [_tag_of(one, data) + data[one.start : one.stop] for one in found]


def _frames(data: bytes) -> Iterator[tuple[int, _Header]]:
    position, kind = _after_tags(data, 0), None
    while position < len(data):
        header = _header(int.from_bytes(data[position : position + 4]))
        if header is None or (kind is not None and header.kind != kind):
            if (following := _resume(data, position, kind)) is None:
                return
            position = following
            continue
        if position + header.length > len(data):
            raise DamagedSound(f"cut short: its last frame is not whole{CUT_SHORT}")
        kind = header.kind
        yield position, header
        position += header.length


def _resume(data: bytes, position: int, kind: tuple[int, int, int] | None) -> int | None:
    """Where frames go on after tags, or after a little that is neither; None: at no place, and the file ends well."""
    following = _after_tags(data, position)
    if following > position:
        return following
    last = min(len(data), position + JUNK)
    for place in range(position + 1, last):
        header = _header(int.from_bytes(data[place : place + 4])) if data[place] == 0xFF else None
        if header and kind in (None, header.kind) and _is_followed(data, place + header.length, header.kind):
            return place
        if _after_tags(data, place) > place:
            return place
    if last < len(data):
        raise DamagedSound(f"damaged: there is no frame of an MP3 within {JUNK} bytes from byte {position}{CUT_SHORT}")
    if len(data) - position < 4 and data[position] == 0xFF:
        raise DamagedSound(f"cut short: its last frame is not whole{CUT_SHORT}")
    return None


def _is_followed(data: bytes, position: int, kind: tuple[int, int, int]) -> bool:
    header = _header(int.from_bytes(data[position : position + 4]))
    return position == len(data) or (header is not None and header.kind == kind)


def _after_tags(data: bytes, position: int) -> int:
    """The end of the ID3 or APE tag at a place; the place itself where there is none."""
    head = data[position : position + 32]
    if head.startswith(b"ID3") and len(head) >= 10:
        size = sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return position + 10 + size + (10 if head[5] & 16 else 0)
    if head.startswith(b"TAG") and len(data) - position == 128:
        return len(data)
    if head.startswith(b"APETAGEX") and len(head) == 32:
        return position + 32 + int(struct.unpack_from("<I", head, 12)[0])
    return position


def _tag(data: bytes, position: int, header: _Header) -> int | None:
    """The number of frames that a tag in this one says, without the tag's own; None where there is no tag."""
    place = position + header.tag
    if data[place : place + 4] in (b"Xing", b"Info") and data[place + 7] & 1:
        return int.from_bytes(data[place + 8 : place + 12])
    place = position + 36
    return int.from_bytes(data[place + 14 : place + 18]) if data[place : place + 4] == b"VBRI" else None


def _tag_of(one: _Recording, data: bytes) -> bytes:
    """A frame with a tag, for a recording of layer III that has none."""
    word = int.from_bytes(data[one.start : one.start + 4])
    if one.told is not None or word >> 17 & 3 != _THIRD:
        return b""
    word = word & ~0xF200 | _ROOM | _NO_CHECKSUM
    header = _header(word)
    assert header is not None
    tag = word.to_bytes(4) + bytes(header.tag - 4) + b"Xing" + struct.pack(">II", 1, one.frames)
    return tag.ljust(header.length, b"\0")
