"""TarWalk: the files in a tar, by their headers alone: what lies between these is passed over, not read.

Python's tarfile is slower, remembers every file that it has seen, and takes a tar that was cut short behind a file for a whole
one.
"""

from collections.abc import Iterator
from typing import NamedTuple

from jobs.references.byte_files import LocalFile, RemoteFile
from jobs.references.tar_header import BLOCK, TarHeader, body_size, parse_header
from jobs.references.tar_members import digest

_MOST = 1 << 20
# What stands before a file and tells of it: long names (GNU), extended headers (POSIX, Solaris).
_LONG_NAME, _LONG_LINK, _EXTENDED = b"L", b"K", (b"x", b"X")
_NOTES = (_LONG_NAME, _LONG_LINK, *_EXTENDED, b"g")
_MOST_NOTE, _MOST_NOTES = 1 << 20, 16 << 20
_MOST_DIGITS = 20
# Links, devices, folders, pipes: nothing lies behind their headers, whatever size these tell.
_WITHOUT_BODY = (b"1", b"2", b"3", b"4", b"5", b"6")
_END = bytes(BLOCK)

FOLDER, SPARSE, PLAIN = b"5", b"S", (b"0", b"\0", b"7")
"""Kinds of members."""


class Member(NamedTuple):
    """One of a tar; its bytes are ``size`` from ``offset`` on, if it is ``PLAIN``.

    ``header``: bytes of what stands before them for it, with ``digest``.
    """

    name: str
    kind: bytes
    offset: int
    size: int
    header: int
    digest: int


class TarError(Exception):
    """What is wrong with a tar, and from which byte on."""


class TarWalk:
    """The tar in a file, or in an object of a store."""

    def __init__(self, file: LocalFile | RemoteFile) -> None:
        self._file = file
        self._size = file.size
        self._start, self._data, self._window = 0, b"", file.least
        file.expect_jumps()

    def __iter__(self) -> Iterator[Member]:
        """All members in order. Raises TarError for what is no tar, or no whole one, and OSError."""
        at, notes = 0, _Notes(0)
        while (block := self._block(at)) != _END:
            header, start = self._header(block, at), at + BLOCK
            is_note = header.kind in _NOTES
            size = header.size if is_note or notes.size is None else notes.size
            at = start if header.kind in _WITHOUT_BODY else start + body_size(size)
            if start - notes.begin > _MOST_NOTES:
                raise TarError(f"cannot be read at byte {notes.begin}: nothing but extended headers")
            if at > self._size:
                raise TarError(
                    f"is cut short: the file whose header is at byte {start - BLOCK} needs {at:,} bytes of it, and it has "
                    f"{self._size:,}; copy or write it again"
                )
            if is_note:
                notes = notes.and_what(header.kind, self._note(start, size))
                continue
            name = _decoded(header.name if notes.name is None else notes.name, start - BLOCK)
            kind = SPARSE if notes.is_sparse else FOLDER if name.endswith("/") else header.kind
            before = start - notes.begin
            yield Member(name, kind, start, size, before, digest(self._read(notes.begin, before)))
            notes = _Notes(at)
        self._check_end(at)

    def _read(self, at: int, size: int) -> bytes:
        """From what was read last, if it is there."""
        begin = at - self._start
        if 0 <= begin <= len(self._data) - size:
            return self._data[begin : begin + size]
        return self._file.read(at, size)

    def _block(self, at: int) -> bytes:
        """The block at a byte, from what was read last, which is more, the nearer to each other the headers are."""
        begin = at - self._start
        if not 0 <= begin <= len(self._data) - BLOCK:
            is_near = 0 <= begin <= 2 * len(self._data)
            self._window = max(min(2 * self._window, _MOST), self._file.least) if is_near else self._file.least
            data = self._file.read(at, self._window) if at < self._size else b""
            self._start, self._data, begin = at, data, 0
            if len(self._data) < BLOCK:
                raise TarError(
                    "has no end: the empty blocks with which a tar ends are missing, so it was cut short, or not closed by "
                    "what wrote it; copy or write it again, or where you know that it is whole: truncate -s +1024 FILE"
                )
        return self._data[begin : begin + BLOCK]

    def _header(self, block: bytes, at: int) -> TarHeader:
        try:
            return parse_header(block)
        except ValueError as error:
            packed = block.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zX"))
            what = "what is there is compressed: unpack it" if packed and at == 0 else str(error)
            raise TarError(f"cannot be read at byte {at}: {what}") from None

    def _note(self, at: int, size: int) -> bytes:
        if size > _MOST_NOTE:
            raise TarError(f"cannot be read at byte {at}: a name, or an extended header, of {size:,} bytes")
        return self._read(at, size)

    def _check_end(self, at: int) -> None:
        """Behind an empty block nothing may follow but empty ones: no reader would see it."""
        while at < self._size:
            data = self._file.read(at, _MOST)
            if not data or data.strip(b"\0"):
                raise TarError(
                    f"goes on behind its end (byte {at:,}), as tars that were joined by cat do: join them with "
                    "tar --concatenate, or name them one by one"
                )
            at += len(data)


class _Notes(NamedTuple):
    """What blocks from ``begin`` on, before its header, tell of a file."""

    begin: int
    name: bytes | None = None
    size: int | None = None
    is_sparse: bool = False

    def and_what(self, kind: bytes, note: bytes) -> "_Notes":
        """These, and those of another block."""
        if kind == _LONG_NAME:
            return self._replace(name=note.partition(b"\0")[0])
        if kind not in _EXTENDED:
            return self
        told = dict(_records(note))
        size = told.get(b"size")
        if size is not None and not (size.isdigit() and len(size) < _MOST_DIGITS):
            raise TarError(f"has an extended header with the size {size[:_MOST_DIGITS]!r}; write it again")
        is_sparse = self.is_sparse or any(key.startswith(b"GNU.sparse.") for key in told)
        return self._replace(
            name=told.get(b"path", self.name), size=self.size if size is None else int(size), is_sparse=is_sparse
        )


def _records(note: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Of an extended header: each is its length, a space, key=value, and the end of the line."""
    while note.strip(b"\0"):
        length, _, rest = note.partition(b" ")
        try:
            size = int(length)
            key, equals, value = rest[: size - len(length) - 1].partition(b"=")
        except ValueError:
            size, equals, value = 0, b"", b""
        if size <= len(length) or not equals or not value.endswith(b"\n"):
            raise TarError("has an extended header that is damaged; write it again")
        yield key, value[:-1]
        note = note[size:]


def _decoded(name: bytes, at: int) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise TarError(f"cannot be read at byte {at}: the name {name!r} is not UTF-8; write it with others") from None
