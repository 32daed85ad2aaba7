"""Gathering: one result on its way, in one file or several.

Several are made one after another, each whole before the next one is begun: a gather that is killed goes on with what is there,
once that is checked. Only when all are there do they get their names, and then the index its own.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from jobs.errors import DamageError, RunError
from jobs.gather.block_copier import BlockCopier
from jobs.gather.committed import Damage, Unlike
from jobs.gather.gather_report import GatherReport
from jobs.gather.new_result import NewFile, NewResult
from jobs.gather.objection import holds_complete
from jobs.gather.provenance import provenance
from jobs.gather.reduction import blocks, summarize
from jobs.gather.result_check import ResultIds, check_file
from jobs.gather.result_file import ResultFile, complete, filling
from jobs.gather.result_index import (
    TOKEN_LETTERS,
    IndexedFile,
    create_index,
    give_names,
    indexed_files,
    is_volume,
    named_files,
    note_replaced,
    problem,
    read_replaced,
    remove_unfinished,
    unfinished,
    volume_path,
)
from jobs.gather.result_rows import StateWriter
from jobs.gather.section import Section, Sections
from jobs.gather.survey import Survey, Surveyed
from jobs.gather.volumes import Volume, VolumeCutter, cut
from jobs.gather.window_reader import WindowReader
from jobs.gather.windows import windows
from jobs.job import has_reduce, make_job
from jobs.plural import counted
from jobs.storage.files import exists, is_file
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.seals import seal_of_rows
from jobs.storage.spans import Spans
from jobs.storage.submission import ResultForm

_LISTED = 10

Progress = Callable[[int, int], None]


class Gathering:
    """Makes one result at ``result``, of what was surveyed; ``volumes`` are its files."""

    def __init__(
        self,
        run: RunDir,
        plan: Plan,
        surveyed: Surveyed,
        volumes: Sequence[Volume],
        result: NewResult,
        form: ResultForm,
        *,
        allow_missing: bool,
        progress: Progress | None,
        new_code: Sequence[str],
    ) -> None:
        self._run = run
        self._plan = plan
        self._part = surveyed.part
        self._ids = ResultIds(plan.manifest_file(run), plan.id_column, surveyed.part)
        self._committed = surveyed.committed
        self._budgets = surveyed.budgets
        self._survey = surveyed.survey
        self._seal = surveyed.seal(plan)
        self._volumes = volumes
        self._result = result
        self._path = result.path
        self._form = form
        self._allow_missing = allow_missing
        self._progress = progress
        self._new_code = new_code

    def write(self) -> GatherReport:
        started = time.monotonic()
        try:
            give_names(self._path)  # else they would be taken for what a killed one has left
            self._fill()
            files = self._files() if self._is_split else [IndexedFile(self._result.temporary, 0, self._part.rows)]
            sizes = [file.path.stat().st_size for file in files] if self._is_split else []
            job = make_job(self._plan.job)
            summary = summarize(job, self._blocks(files)) if has_reduce(job) else {}
            self._publish(files, summary)
        except OSError as error:
            self._result.check()
            raise RunError(f"{self._path}: gather stopped: {error}") from error
        size, seconds = sum(sizes) + self._path.stat().st_size, time.monotonic() - started
        seal, count = self._whole_seal, len(files)
        return GatherReport.of(self._path, self._part, self._survey, seal, size=size, files=count, seconds=seconds)

    @property
    def _is_split(self) -> bool:
        return len(self._volumes) > 1

    @property
    def _whole_seal(self) -> str | None:
        return self._seal if self._survey.whole else None

    def _fill(self) -> None:
        """Makes all files, with all but the summary."""
        while True:
            self._token = self._new_token()
            found = self._write_files()
            if found:
                # From another attempt, or left out; values lie end to end, so either may move all that follow.
                self._committed.exclude(found)
                self._survey_again()
            if self._survey.lost and (not self._allow_missing or holds_complete(self._path)):
                raise DamageError(_damage(self._run, self._survey.lost, self._path))
            if not found:
                return

    def _survey_again(self) -> None:
        outputs = self._survey.outputs
        most = self._form.room
        cutter = VolumeCutter(self._run, self._plan, self._part, most=most) if most else None
        visit = (lambda _, stored: cutter.add(stored)) if cutter else None
        self._survey = Survey.take(self._run, self._plan, self._part, self._committed, self._budgets, visit)
        self._survey.assume(outputs)
        self._volumes = cut(self._survey, cutter)

    def _new_token(self) -> str:
        """What tells the files of this result from those of any other: what all of them hold, and of which plan.

        Files of that token which the index does not name are those of one that was moved away, and stay as they are.
        """
        named = {file.path for file in indexed_files(self._path)}
        facts = repr((self._plan.created, self._seal, self._form.compression, self._volumes))
        while True:
            is_whole = self._survey.whole
            digest = xxhash.xxh3_64_hexdigest(facts.encode()) if is_whole else os.urandom(TOKEN_LETTERS).hex()
            token = digest[:TOKEN_LETTERS]
            if named_files(self._path, token) <= named:
                return token
            facts += "+"

    def _write_files(self) -> list[Unlike]:
        """Writes all files; returns what differs from the journals, where something does."""
        if self._result.has_locks:  # else they may be those of another one that is at work
            remove_unfinished(self._path, self._token)
        if self._is_split:
            self._check_space_for_all()
        sections, found = Sections(self._committed), list[Unlike]()
        for number, volume in enumerate(self._volumes):
            section = sections.take(volume.start, volume.stop)
            if self._is_split:
                unlike = self._write_volume(number, volume, section)
            else:
                unlike = self._write_file(self._result, volume, section, self._provenance())
            found += map(section.as_of_result, unlike)
        return found

    def _write_volume(self, number: int, volume: Volume, section: Section) -> list[Unlike]:
        """Makes a file of several, unless it is there and intact."""
        path = volume_path(self._path, self._token, number)
        for there in (unfinished(path), path):
            if is_file(there):
                if self._is_intact(there, volume, section):
                    return []
                section = Sections(self._committed).take(volume.start, volume.stop)  # the other one is used up
                unfinished(path).unlink(missing_ok=True)  # or it would take the place of the other one
        with NewFile(self._path) as file:
            found = self._write_file(file, volume, section, self._provenance_of(volume))
            if not found:
                seal = self._whole_seal
                complete(file.temporary, {}, seal_of_rows(seal, volume.start, volume.stop) if seal else None)
                file.publish(unfinished(path))
        return found

    def _write_file(self, file: NewFile, volume: Volume, section: Section, facts: Mapping[str, Any]) -> list[Unlike]:
        """All but the summary; returns what differs from the journals."""
        with filling(file.temporary, file.descriptor, volume.contents, facts, self._form.compression) as result:
            _check_space(self._path.parent, file.temporary.stat().st_size)
            self._ids.put_ids(result.put, volume)
            found: list[Unlike] = []
            with WindowReader() as reader:
                states, copier = StateWriter(result.put), BlockCopier(result, self._survey.outputs, reader)
                for window in windows(section.batches(), volume.stop - volume.start):
                    states.add(window)
                    found += copier.copy(window)
                    self._advance(volume.start + window.stop)
            return found

    def _is_intact(self, path: Path, volume: Volume, section: Section) -> bool:
        if problem(IndexedFile(path, volume.start, volume.stop), self._whole_seal or ""):
            return False
        return not check_file(path, volume, self._ids, section, self._advance)

    def _advance(self, row: int) -> None:
        if self._is_split:
            self._result.show()
        if self._progress:
            self._progress(self._part.start + row, self._plan.rows)

    def _provenance(self) -> dict[str, Any]:
        facts = provenance(self._run, self._plan, self._part, self._survey)
        return {**facts, "summary_by_changed_code": self._new_code} if self._new_code else facts

    def _provenance_of(self, volume: Volume) -> dict[str, Any]:
        """Of a file of several what tells whose it is; the index has all."""
        own = {"part": asdict(self._part)} if self._plan.parts else {}
        place = {"index": self._path.name, "rows": [volume.start, volume.stop]}
        known = {"name": self._plan.name, "fingerprint": self._plan.fingerprint, "gathered": time.time()}
        return {**known, **own, "volume": place}

    def _files(self) -> list[IndexedFile]:
        """Where the files of several are now."""
        names = (volume_path(self._path, self._token, number) for number in range(len(self._volumes)))
        there = (unfinished(path) if exists(unfinished(path)) else path for path in names)
        return [IndexedFile(path, one.start, one.stop) for path, one in zip(there, self._volumes, strict=True)]

    def _blocks(self, files: Sequence[IndexedFile]) -> Iterator[dict[str, Any]]:
        """All batches of the result, read back from its files, for a Job that folds them."""
        for file, volume in zip(files, self._volumes, strict=True):
            with ResultFile.opened(file.path) as result:
                yield from blocks(self._plan.table, volume.part(self._part), result, self._survey.outputs, volume.start)

    def _publish(self, files: Sequence[IndexedFile], summary: Mapping[str, np.ndarray]) -> None:
        """Puts the result in its place, and removes the files of the one before."""
        before = {*(file.path for file in indexed_files(self._path)), *read_replaced(self._path)}
        paths = [volume_path(self._path, self._token, number) for number in range(len(files))] if self._is_split else []
        if self._is_split:
            named = [replace(file, path=path) for file, path in zip(files, paths, strict=True)]
            create_index(self._result.temporary, named, self._provenance())
        replaced = sorted(path for path in before - {*paths} if is_volume(path))
        note_replaced(self._result.temporary, replaced)
        complete(self._result.temporary, summary, self._whole_seal)
        self._result.publish()
        # Not before: a file that has its name and no index, nobody could tell from those of an index that was moved away.
        give_names(self._path)
        for old in replaced:
            old.unlink(missing_ok=True)

    def _check_space_for_all(self) -> None:
        if not self._form.compression:
            there = (file.path.exists() for file in self._files())
            needed = sum(one.size for one, is_there in zip(self._volumes, there, strict=True) if not is_there)
            _check_space(self._path.parent, needed)


def _check_space(folder: Path, needed: int) -> None:
    """Says at once that the data will not fit: a file is one large hole until its rows are written."""
    system = os.statvfs(folder)
    free = system.f_bavail * system.f_frsize
    if free < needed:
        raise RunError(
            f"{folder}: the result needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: "
            "make room, or set output.path to another file system"
        )


def _damage(run: RunDir, damaged: Sequence[Damage], path: Path) -> str:
    shards = Spans.of_numbers({damage.shard for damage in damaged})
    what = counted(len(damaged), "batch is", "batches are")
    lines = [f"  {damage}" for damage in damaged[:_LISTED]]
    if len(damaged) > _LISTED:
        lines.append(f"  and {len(damaged) - _LISTED} more")
    return "\n".join(
        [
            f"{run.path}: {what} not on disk as written, in shards {shards.brief()}:",
            *lines,
            f"`launcher rerun {run.argument} --shards {shards.coarse()}` computes them again; {of_the_rest(run, [path])}",
        ]
    )


def of_the_rest(run: RunDir, paths: Sequence[Path]) -> str:
    """How to have results, at these paths, of what there is."""
    if kept := [str(path) for path in paths if holds_complete(path)]:
        return f"what is complete stays as it is ({', '.join(kept)}): for a result of the rest move that away first"
    return f"`launcher gather {run.argument} --allow-missing` makes a result of what there is"
