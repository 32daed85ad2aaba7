"""Riff: the chunks of a WAV file, whose header may tell of less sound than there is."""

from pathlib import Path
from typing import IO, Literal

from jobs.sound.damage import JUNK, DamagedSound

_Order = Literal["little", "big"]
_ORDERS: dict[bytes, _Order] = {b"RIFF": "little", b"RIFX": "big"}


def mended(path: Path) -> bytes | None:
    """The file with the size of its sound in its header, where that says 0 (a recorder that was switched off); else None.

    Raises DamagedSound where what follows the sound is neither chunks nor a little of padding.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        order = _ORDERS.get(file.read(4))
        found = order and _sound(file, order)
        if not order or not found:
            return None
        start, told = found
        rest = size - start - told
        if rest <= JUNK or any(_is_chunk(file, start + told + pad, order, size) for pad in (0, 1)):
            return None
        if told:
            raise DamagedSound(
                f"its header tells of {told} bytes of sound, but {rest} more follow it: write the header anew"
            )
        file.seek(0)
        data = bytearray(file.read())
    data[4:8] = min(size - 8, 0xFFFFFFFF).to_bytes(4, order)
    data[start - 4 : start] = min(size - start, 0xFFFFFFFF).to_bytes(4, order)
    return bytes(data)


def _sound(file: IO[bytes], order: _Order) -> tuple[int, int] | None:
    """Where the sound begins, and how many bytes of it the header tells of."""
    position = 12
    while True:
        file.seek(position)
        name, size = file.read(4), int.from_bytes(file.read(4), order)
        if name == b"data":
            return position + 8, size
        if len(name) < 4:
            return None
        position += 8 + size + size % 2


def _is_chunk(file: IO[bytes], position: int, order: _Order, size: int) -> bool:
    file.seek(position)
    name, length = file.read(4), int.from_bytes(file.read(4), order)
    return len(name) == 4 and name.isascii() and name.decode().isprintable() and position + 8 + length <= size + 1
