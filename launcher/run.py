"""Run: plan, submit, follow, gather in the foreground; the array tasks leave when it does. Used by the run command."""

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from jobs.errors import RunError
from jobs.storage.rundir import RunDir
from launcher.cancel import cancel_run
from launcher.config.config import Config
from launcher.executors import choose_executor
from launcher.plan.plan import Planned
from launcher.runs import reference
from launcher.status.progress import View, follow
from launcher.status.status import Status, StatusReader
from launcher.submissions import read_submissions
from launcher.submit import nothing_to_do, select_shards, submit


def run_to_end(planned: Planned, config: Config, view: View, say: Callable[[str], None]) -> Status:
    """Submits what is not done and follows until the result is there or nothing more can be done.

    At Ctrl-C, SIGTERM or SIGHUP it stops the array tasks in good order, at the second one at once, says how to go on, and
    raises KeyboardInterrupt. Array tasks of a scheduler go on.
    """
    run, plan = planned.run, planned.plan
    reader = StatusReader(run)
    selection = select_shards(run, plan)
    if selection.running:
        raise RunError(nothing_to_do(run, selection))
    if not selection.shards:
        return _gathered(run, reader, config)
    with Interrupts() as interrupts:
        try:
            submit(run, config, selection, attached=True)
            return follow(reader, view, live=True)
        except KeyboardInterrupt:
            if choose_executor(config.executor).stops_with_launcher:
                say("stopping the array tasks; Ctrl-C again stops them at once")
                _stop(run, interrupts)
                say(f"what is done is kept; to go on: launcher run {shlex.quote(str(config.path))}")
            else:
                name = reference(run)
                say(f"the run goes on; follow it: launcher status {name} --watch, stop it: launcher cancel {name}")
            raise


def _gathered(run: RunDir, reader: StatusReader, config: Config) -> Status:
    """Every shard is done: writes the result, if that is missing or older."""
    status = reader.read()
    if status.state == "complete":
        return status
    from jobs.storage.gather import gather

    gather(run, output=config.output_path)
    return reader.read()


def _stop(run: RunDir, interrupts: "Interrupts") -> None:
    """Cancels what this launcher started; another Ctrl-C asks again, which ends the array tasks at once."""
    while any(known.is_open for known in read_submissions(run)):
        try:
            with interrupts.raised():
                cancel_run(run)
        except KeyboardInterrupt:
            continue


class Interrupts:
    """While open, the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt, later ones only where they are ``raised``.

    Elsewhere a second one, which may come at any moment after the first, would end the launcher before its array tasks.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._is_raising = True
        self._is_waiting = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, a shell's background
                self._before[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: object) -> None:
        self._is_waiting = not self._is_raising
        if self._is_raising:
            self._is_raising = False
            raise KeyboardInterrupt

    @contextmanager
    def raised(self) -> Iterator[None]:
        """In here they raise KeyboardInterrupt; one that came before does so at once."""
        self._is_raising = True
        try:
            if self._is_waiting:
                self._is_waiting = False
                raise KeyboardInterrupt
            yield
        finally:
            self._is_raising = False
