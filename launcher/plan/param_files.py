"""Param files: files and folders that a Job's params name (weights), as they were when the run was planned.

Made by planning, compared by whatever goes on with a run: results of two models must not end up in one. A file of the
same size and time is taken for the same; of one that is not, the content decides.
"""

import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import xxhash

from jobs.job import Job
from jobs.parameters import named_parameters
from jobs.storage.plans import Plan
from jobs.storage.records import JobSpec
from launcher.patience import telling

# A folder of more bytes holds weights that take minutes to read: of its files of more than _LARGE bytes, so many blocks are.
_MUCH, _LARGE = 1 << 30, 1 << 24
_BLOCKS, _BLOCK = 16, 1 << 20
# How a hash was made; one of an older version, of all bytes, says nothing of it.
_WAY = "blocks"


def describe_files(cls: type[Job], job: JobSpec) -> dict[str, dict[str, Any]]:
    """Parameter -> path, stamp and hash of the file or folder that it names, or its default does; other values are left out.

    Of several in a list or a mapping each by itself, as ``models.0``.
    """
    defaults = {name: one.default for name, one in named_parameters(cls).items()}
    named = (_texts(name, job.params.get(name, defaults.get(name))) for name in cls.param_files)
    texts = dict(itertools.chain.from_iterable(named))
    paths = {name: _place(job, text) for name, text in texts.items()}
    return {
        name: {
            "text": texts[name],
            "path": path,
            "stamp": _stamp(Path(path)),
            "hash": _hash(Path(path), _WAY),
            "way": _WAY,
        }
        for name, path in paths.items()
        if os.path.exists(path)
    }


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str | Path):
        if value != "":  # which names nothing, and not the folder in which paths start
            yield name, os.fspath(value)
    elif isinstance(value, list | tuple | dict):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(f"{name}.{key}", one)


def _place(job: JobSpec, value: str) -> str:
    """Relative paths start in the config's folder, as in array tasks."""
    # os.path's: it leaves a user who is not known as text, and takes no text for an error.
    return os.path.join(job.folder or "", os.path.expanduser(value))


def changed_files(plan: Plan, job: JobSpec) -> list[str]:
    """A line for each file of the plan's params whose content is another now, or that is gone."""
    changes: list[str] = []
    for name, known in plan.files.items():
        value = job.params.get(name)
        # What a default or a list names has moved with the folder, too; older plans have the path alone.
        path = Path(_place(job, value if isinstance(value, str) else known.get("text", known["path"])))
        if not (path.exists() and (_stamp(path) == known["stamp"] or _hash(path, known.get("way")) == known["hash"])):
            changes.append(f"job.params.{name}: {path} is not what it was, so it would give other results")
    return changes


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """(name within ``path``, file), in the order of the names."""
    if path.is_file():
        yield "", path
    else:
        yield from sorted((str(file.relative_to(path)), file) for file in path.rglob("*") if file.is_file())


def _stamp(path: Path) -> list[list[Any]]:
    """Name, bytes and time (ns) of each file."""
    stats = ((name, file.stat()) for name, file in _files(path))
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _hash(path: Path, way: str | None) -> str:
    """The xxh3-128 of names, sizes and contents; of a folder of much, of blocks of its large files, if that is the ``way``."""
    digest = xxhash.xxh3_128()
    with telling(f"hashing {path}"):
        files = [(name, file, file.stat().st_size) for name, file in _files(path)]
        is_much = way == _WAY and path.is_dir() and sum(size for *_, size in files) > _MUCH
        for name, file, size in files:
            digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
            with file.open("rb") as stream:
                if is_much and size > _LARGE:
                    _add_blocks(digest, stream, size)
                else:
                    hashlib.file_digest(stream, lambda: digest)
    return digest.hexdigest()


def _add_blocks(digest: xxhash.xxh3_128, stream: BinaryIO, size: int) -> None:
    """The first and the last block, and those between at equal distances: training changes weights all over."""
    for number in range(_BLOCKS):
        stream.seek(number * (size - _BLOCK) // (_BLOCKS - 1))
        digest.update(stream.read(_BLOCK))
