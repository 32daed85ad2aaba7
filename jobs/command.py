"""Command: an external program per sample, without a shell; what it prints and writes are the outputs.

A built-in Job, named in a config as ``jobs.command:Command``. Each pool worker runs one program at a time.
"""

import codecs
import contextlib
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jobs.errors import InputError
from jobs.exit_codes import exit_text
from jobs.inputs import bad_parameter, need_number, need_one_of, need_whole
from jobs.job import Context, Job
from jobs.program.argument import Argument
from jobs.program.interpreter import script_problem, why_not_started
from jobs.program.programs import Call, Finished, Programs
from jobs.storage.samples import Sample

_OWN_FIELDS = {"index", "id", "tmp"}
FORMS = ("text", "bytes")
# Of the end of stderr in a failure's message, of which the journal keeps 500 characters.
_SAID_CHARACTERS = 300
# A program that met a stop signal, with all else of its task, is started again while the task decides what becomes of it.
_STARTS = 3


class ProgramError(Exception):
    """A program that did not do what it should; its text says how it ended, and what it said last."""


class Command(Job):
    """Outputs per sample: ``exit_code`` int32, and, as text or bytes, what the parameters ask for.

    - ``command``: the program and its arguments, one text each: ``[sox, "{path}", "--rate", "{rate}", "{tmp}/out.wav"]``.
      A field is a column of the manifest, ``{index}``, ``{id}`` or ``{tmp}``, a new folder that is removed after the
      call. No shell reads it, so nothing in a value is special but a leading ``-``: put ``--`` before fields where the
      program knows it. The program is looked for on the node's PATH; it works in the config's folder.
    - ``stdin``: text with fields, or a field of bytes; default: nothing.
    - ``stdout``, ``stderr``: an output as ``text`` (UTF-8) or ``bytes``; null: not stored.
    - ``files``: output name -> path of a file that the program writes below ``{tmp}``, stored as bytes.
    - ``exit_codes``: those of success; any other, or a signal, fails the sample, with the last words of stderr.
    - ``timeout``: seconds of a call, less than ``node.sample_timeout``.
    - ``max_output``: bytes of stdout, of stderr and of each file; ``too_much``: ``fail`` ends the program that prints
      more, ``truncate`` drops the rest. No more than that is held in memory.

    When a call ends, however it does, everything that the program left running is killed; so it is when the pool
    worker, or the whole task, is killed. Raises InputError for parameters that cannot work, also where a node has no
    such program; ProgramError or ValueError, for that sample, with the reason.
    """

    def __init__(
        self,
        command: list[str],
        stdin: str | None = None,
        stdout: Literal["text", "bytes"] | None = "text",
        stderr: Literal["text", "bytes"] | None = None,
        files: dict[str, str] | None = None,
        exit_codes: Sequence[int] = (0,),
        timeout: float = 300.0,
        max_output: int = 16 << 20,
        too_much: Literal["fail", "truncate"] = "fail",
    ) -> None:
        if not isinstance(command, list) or not command:
            raise bad_parameter("command", command, "a list: the program and its arguments")
        self._command = [Argument.parse("command", word) for word in command]
        self._stdin = None if stdin is None else Argument.parse("stdin", stdin)
        self._forms = {
            name: need_one_of(name, form, FORMS) for name, form in (("stdout", stdout), ("stderr", stderr)) if form
        }
        self._files = dict(files or {})
        for path in self._files.values():
            if not isinstance(path, str) or not path or Path(path).is_absolute() or ".." in Path(path).parts:
                raise bad_parameter("files", path, "output name -> path of a file below {tmp}")
        asking = [*self._command, *([self._stdin] if self._stdin else [])]
        self._fields = frozenset[str]().union(*(word.fields for word in asking))
        self._needs_folder = bool(self._files) or "tmp" in self._fields
        if taken := self._files.keys() & {"stdout", "stderr", "exit_code"}:
            raise bad_parameter("files", min(taken), "names that are not those of other outputs")
        if not exit_codes or not all(type(code) is int and 0 <= code <= 255 for code in exit_codes):
            raise bad_parameter("exit_codes", exit_codes, "a list of numbers from 0 to 255")
        self._exit_codes = set(exit_codes)
        self._timeout = need_number("timeout", timeout, "seconds over 0")
        self._limit = need_whole("max_output", max_output, "a number of bytes")
        self._fail = need_one_of("too_much", too_much, ("fail", "truncate")) == "fail"
        self._programs: Programs | None = None

    def manifest_columns(self) -> tuple[str, ...]:
        """Those that fields name."""
        return tuple(sorted(self._fields - _OWN_FIELDS))

    def setup_worker(self, context: Context) -> None:
        """Looks for the program, which need not be on the login node; raises InputError where there is none."""
        program = self._command[0]
        if not program.fields:
            name = program.fill({})
            if shutil.which(name) is None:
                raise InputError(f"job.params: command: this node has no program {name!r}; valid: one on its PATH")
            if problem := script_problem(name):
                raise InputError(f"job.params: command: {problem}")
        self._scratch = context.scratch
        self._programs = Programs()

    def load(self, sample: Sample) -> dict[str, Any]:
        """Runs the program; returns its outputs."""
        with self._folder() as folder:
            values = {"index": sample.index, "id": sample.id, **sample, "tmp": folder}
            arguments = [word.fill(values) for word in self._command]
            stdin = self._stdin.fill_bytes(values) if self._stdin else b""
            finished = self._run(Call(arguments, stdin, self._timeout, self._limit, self._fail))
            if problem := self._problem(finished):
                raise ProgramError(problem)
            return self._outputs(finished, Path(folder or ""))

    def process(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The outputs, as they were loaded."""
        return batch

    def teardown(self) -> None:
        """In the process, too, which runs no programs where pool workers do."""
        if self._programs:
            self._programs.close()

    @contextlib.contextmanager
    def _folder(self) -> Iterator[str | None]:
        """The folder ``{tmp}`` of a call; None where nothing asks for it: making one takes as long as a program's start."""
        if not self._needs_folder:
            yield None
            return
        with tempfile.TemporaryDirectory(prefix="call-", dir=self._scratch) as folder:
            yield folder

    def _run(self, call: Call) -> Finished:
        """Runs it, again where a stop signal of the scheduler may have ended it: that is not the sample's fault."""
        assert self._programs
        for _ in range(_STARTS):
            stops = self._programs.stops
            try:
                finished = self._programs.run(call)
            except OSError as error:
                raise ProgramError(why_not_started(call.arguments[0], error)) from None
            if self._programs.stops == stops and not finished.was_stopped:
                break
        return finished

    def _problem(self, finished: Finished) -> str | None:
        """Why the call is a failure."""
        if not finished.problem and finished.code in self._exit_codes:
            return None
        valid = ", ".join(map(str, sorted(self._exit_codes)))
        ended = exit_text(finished.code)
        how = finished.problem or (f"killed by {ended}" if finished.code < 0 else f"{ended} (success: {valid})")
        said = finished.stderr.tail.decode(errors="replace").strip()[-_SAID_CHARACTERS:]
        return f"{how}; stderr: {said}" if said else how

    def _outputs(self, finished: Finished, folder: Path) -> dict[str, Any]:
        outputs: dict[str, Any] = {"exit_code": np.int32(finished.code)}
        for name, found in (("stdout", finished.stdout), ("stderr", finished.stderr)):
            if name in self._forms:
                content = bytes(found.head)
                cut = found.size > found.limit
                outputs[name] = _decode(name, content, cut) if self._forms[name] == "text" else content
        return outputs | {name: self._read(folder / path) for name, path in self._files.items()}

    def _read(self, path: Path) -> bytes:
        """A file that the program wrote."""
        try:
            found = path.stat()
        except FileNotFoundError:
            raise ProgramError(f"it wrote no file {{tmp}}/{path.name}") from None
        if not stat.S_ISREG(found.st_mode):
            raise ProgramError(f"{{tmp}}/{path.name} is no file")
        if self._fail and found.st_size > self._limit:
            raise ProgramError(f"{{tmp}}/{path.name} is larger than max_output ({self._limit} bytes)")
        with path.open("rb") as file:
            return file.read(self._limit)


def _decode(name: str, content: bytes, cut: bool) -> str:
    """UTF-8; a character that the limit cut in two is left out."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(content, final=not cut)
    except UnicodeDecodeError as error:
        raise ProgramError(
            f"{name} is not UTF-8 at byte {error.start}; with {name}: bytes it is kept as it is"
        ) from None
