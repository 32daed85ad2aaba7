"""The command line: runs a command, which is imported from launcher.commands when it is used; exit codes.

Exit codes: 0 done and complete; 1 something failed or the result is not complete; 2 bad input; 75 (``run --once``) it goes
on; 130 interrupted.
"""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from jobs.errors import InputError, LauncherError
from jobs.exit_codes import BAD_INPUT, DONE, FAILED, INTERRUPTED, STOPPED
from jobs.machine import streams
from jobs.machine.imports import many_imports
from jobs.machine.permissions import keep_out_others
from launcher.arguments import parse
from launcher.commands.printer import Printer

_SHOWN_CHARACTERS = 500
_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    streams.prepare()
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    finally:
        streams.let_go()


@contextmanager
def _without_plugins() -> Iterator[None]:
    """For its first model, here one of ours, pydantic opens a file of each distribution there is, to look for plugins."""
    before = os.environ.get(_PLUGINS)
    os.environ[_PLUGINS] = "__all__"
    try:
        yield
    finally:  # it is of ours alone: a Job's models may have plugins
        del os.environ[_PLUGINS]
        if before is not None:
            os.environ[_PLUGINS] = before


def _say_notes(error: BaseException, printer: Printer) -> None:
    """What was done before something raised, such as results that were set aside."""
    if notes := getattr(error, "__notes__", ()):
        printer.say(*notes)


def _no_text() -> str:
    """What a name is that has half characters in it: those of a name that is none, or of one that the locale does not know."""
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        return f"Python takes names of files for {encoding} here, by the locale: export LC_ALL=C.UTF-8, without PYTHONUTF8=0"
    return "has bytes that are no UTF-8 text; rename it, or put what is needed somewhere else"


def _run(arguments: Sequence[str]) -> int:
    printer = Printer("--json" in arguments)
    keep_out_others()
    try:
        options = parse(arguments)
        module, _, name = options.function.partition(".")
        with many_imports(), _without_plugins():
            function = getattr(import_module(f"launcher.commands.{module}"), name)
        complete = function(options, printer)
        sys.stdout.flush()
        return STOPPED if complete is None else DONE if complete else FAILED
    except LauncherError as error:
        _say_notes(error, printer)
        printer.error(str(error))
        return BAD_INPUT if isinstance(error, InputError) else FAILED
    except UnicodeEncodeError as error:  # Arrow and HDF5 take paths of text alone
        printer.error(f"{str(error.object)[:_SHOWN_CHARACTERS]}: {_no_text()}")
        return BAD_INPUT
    except KeyboardInterrupt as error:
        _say_notes(error, printer)
        printer.error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has gone, as with `| head`
        return FAILED
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # nobody but the user makes up names
            printer.error(f"{str(error.filename)[:_SHOWN_CHARACTERS]}: {error.strerror}; give a shorter one")
            return BAD_INPUT
        printer.error(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
        return FAILED
