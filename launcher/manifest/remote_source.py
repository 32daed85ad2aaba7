"""RemoteTable and RemotePattern: manifests, and sample files, that are objects of a store.

A table is copied to TMPDIR and read from there: a source is read twice, and has to be the same each time.
"""

import fnmatch
import glob
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from jobs.errors import InputError
from jobs.references.stores import StoredObject, copy_to, listed
from jobs.storage.samples import BATCH_ROWS
from launcher.manifest.casts import cast_batch
from launcher.manifest.schema import Scan
from launcher.manifest.sources import Source, sample_file_schema, state_of

_DEEP = "**"


class RemoteTable(Source):
    """A table at a URL, in a format that ``reader`` makes a source of, given a file."""

    def __init__(self, url: str, reader: Callable[[Path], Source]) -> None:
        super().__init__(url)
        self._reader = reader
        self._copy: Source | None = None

    def scan(self) -> Scan:
        return self._copied().scan()

    def _copied(self) -> Source:
        """The source of the copy, which is made once."""
        if self._copy is None:
            folder = tempfile.mkdtemp(prefix="launcher-manifest-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            path = Path(folder, self.name.rpartition("/")[2])
            with _reading(self.name), path.open("wb") as file:
                copy_to(self.name, file)
            self._copy = self._reader(path)
            self._copy.name = self.name
        return self._copy

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        return self._copied().batches(schema)

    def place(self, row: int) -> str:
        return self._copied().place(row)

    def state(self) -> tuple[int, float]:
        """As the store tells it."""
        with _reading(self.name):
            return state_of(self.name)


class RemotePattern(Source):
    """The objects that match a pattern, one sample each, by name: columns ``id`` and ``path``, both the URL, maybe ``size``."""

    has_ids = True

    def __init__(self, pattern: str, sizes: bool) -> None:
        super().__init__(pattern)
        self._sizes = sizes
        self._found: list[StoredObject] = []

    def scan(self) -> Scan:
        self._found = sorted(matching_objects(self.name), key=lambda one: one.url)
        if not self._found:
            raise InputError(f"{self.name}: no object matches this pattern")
        return Scan(self.name, sample_file_schema(sizes=self._sizes), len(self._found))

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(self._found), BATCH_ROWS):
            some = self._found[start : start + BATCH_ROWS]
            urls = pa.array([one.url for one in some], pa.string())
            columns = {"id": urls, "path": urls}
            if self._sizes:
                columns["size"] = pa.array([one.size for one in some], pa.int64())
            yield cast_batch(pa.RecordBatch.from_pydict(columns), schema)

    def place(self, row: int) -> str:
        return f"{self.name}: {self._found[row].url}"


def matching_objects(pattern: str) -> Iterator[StoredObject]:
    """As of files: ``*`` ends at a slash, ``**`` is any folders, hidden names are left out. Raises InputError."""
    if pattern.startswith("http"):
        raise InputError(
            f"{pattern}: a server of HTTP tells no list of its files; name them, or use braces: {{000..099}}"
        )
    parts = pattern.split("/")
    literal = pattern[: next(at for at, letter in enumerate(pattern) if glob.has_magic(letter))]
    with _reading(pattern):
        yield from (one for one in listed(literal) if _match(one.url.split("/"), parts))


def _match(names: Sequence[str], parts: Sequence[str]) -> bool:
    if not parts or not names:
        return not parts and not names
    if parts[0] == _DEEP:
        rest = parts[1:] or ["*"]
        return _match(names, rest) or (not names[0].startswith(".") and _match(names[1:], parts))
    is_hidden = names[0].startswith(".") and not parts[0].startswith(".")
    return not is_hidden and fnmatch.fnmatchcase(names[0], parts[0]) and _match(names[1:], parts[1:])


@contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        place = "" if error.filename in (None, url) else f" ({error.filename})"
        raise InputError(f"{url}: cannot be read: {error.strerror or error}{place}") from None
