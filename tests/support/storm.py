"""Storm: runs that overlap, with real processes of the local executor, and all that may happen to them at any moment."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from jobs.kinds import RunState
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission
from jobs.storage.upstreams import Upstream
from launcher import results
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from tests.support.chains import run_in, write_rows, write_run
from tests.support.instant_executor import command
from tests.support.launcher_runs import start, wait_until
from tests.support.patience import PATIENCE
from tests.support.task_runs import done_rows

ROWS = 160
NAMES = ("first", "second", "third")
PATIENCE_OF_TASKS = 1.5
"""Seconds without a beat of the stage before after which array tasks leave; it is minutes outside of tests."""

HOOK = f"""
import errno, os, random, sys, time

def troubled(call):
    def tried(path=".", *arguments, **named):
        if "/runs/first/" in str(path) and os.path.exists("trouble"):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return call(path, *arguments, **named)
    return tried

def late(module, *names):
    for name in names:
        def wrapped(*arguments, call=getattr(module, name), **named):
            time.sleep(random.choice((0, 0, 0.1, 0.5)))
            found = call(*arguments, **named)
            time.sleep(random.choice((0, 0, 0.1, 0.5)))
            return found
        setattr(module, name, wrapped)

if sys.orig_argv[2:4] == ["-m", "jobs"]:
    from jobs.node.supervisor import claimer, inflow
    claimer.TIMING = claimer.Timing(look=0.1, silence=2.0, reads=4)
    inflow.Inflow.__init__.__defaults__ = (time.monotonic, {PATIENCE_OF_TASKS})
    inflow._AFTER_END = 1.0
    if "/runs/first" not in " ".join(sys.orig_argv):
        os.open, os.listdir, os.stat = map(troubled, (os.open, os.listdir, os.stat))
if sys.orig_argv[2:4] == ["-m", "launcher.local"]:
    from launcher.local import local_process
    from launcher.retry import finalize
    from launcher.submit import downstream
    late(finalize, "_undone", "_all_done", "_seals")
    late(downstream, "_own_notes", "_notes", "_begin", "blocking")
    late(local_process, "start_waiting")
"""


class Storm:
    """Runs that overlap, and what happens to them.

    ``is_mild``: executors live, and nobody cancels what waits: then all ends well by itself, once the first run has.
    """

    def __init__(self, folder: Path, dice: random.Random, *, stages: int, is_mild: bool) -> None:
        self.names = NAMES[:stages]
        self.seen = Counter[str]()
        self._folder = folder
        self._dice = dice
        self._is_mild = is_mild
        self._frozen: dict[psutil.Process, float] = {}
        self._commands: list[tuple[str, subprocess.Popen[str]]] = []
        self.history: list[str] = []

    def begin(self, *names: str) -> None:
        """Submits these, all if none is named."""
        settings = {"retry": {"attempts": 50}, "local": {"parallelism": 2}}
        write_run(
            self._folder, "first", write_rows(self._folder, ROWS), "tests.example_jobs.copied_stages:First", **settings
        )
        outputs = {"second": ["by"], "third": ["by", "by2"]}
        sizes = {"node": {"batch_size": self._dice.choice((2, 4, 6, 16))}}
        for before, name in zip(self.names, self.names[1:], strict=False):
            manifest = {"run": before, "outputs": outputs[name], "failed": "keep", "overlap": True}
            write_run(self._folder, name, manifest, "tests.example_jobs.copied_stages:Next", **settings, **sizes)
        self.do("submit", *(f"{name}.yaml" for name in names or self.names))

    def do(self, *words: str) -> int:
        code, said = command(*words)
        self.history.append(f"{' '.join(words)}: {code} {said.strip()}")
        assert code in (0, 1, 2), said
        assert "Traceback" not in said, said
        self.seen[f"{words[0]} {words[1].removesuffix('.yaml')}"] += 1
        return code

    def strike(self) -> None:
        """Something happens."""
        happens = [self._kill] * 4 + [self._freeze] * 2 + [self._rerun] * 2 + [self._mend]
        if not self._is_mild:
            happens += [self._cancel, self._kill_all, self._submit, self._at_once, self._terminate, self._trouble]
        self._dice.choice(happens)()
        self._thaw()

    def _victims(self) -> list[psutil.Process]:
        return [p for name in self.names for p in processes(run_in(self._folder, name), executors=not self._is_mild)]

    def _kill(self) -> None:
        if victims := self._victims():
            self._signal(self._dice.choice(victims), signal.SIGKILL)

    def _kill_all(self) -> None:
        victims = processes(run_in(self._folder, self._dice.choice(self.names)), executors=True)
        for victim in victims:
            self._signal(victim, signal.SIGKILL)

    def _terminate(self) -> None:
        if victims := self._victims():
            self._signal(self._dice.choice(victims), signal.SIGTERM)

    def _signal(self, process: psutil.Process, number: signal.Signals) -> None:
        with suppress(psutil.NoSuchProcess):
            words = " ".join(process.cmdline())
            process.send_signal(number)
            kind = "executor" if "launcher.local" in words else "task"
            self.history.append(f"{number.name} {process.pid} {kind} {words[-60:]}")
            self.seen[f"{number.name} of {kind}"] += 1

    def _freeze(self) -> None:
        """Of an array task all, or one process; some for longer than others wait for it."""
        victims = [one for one in self._victims() if one not in self._frozen]
        if not victims:
            return
        one = self._dice.choice(victims)
        frozen = [one]
        with suppress(psutil.NoSuchProcess):
            frozen += one.children(recursive=True) if self._dice.random() < 0.5 else []
        until = time.monotonic() + self._dice.choice((0.3, 1.0, 4.0))
        for process in frozen:
            self._signal(process, signal.SIGSTOP)
            self._frozen[process] = until

    def _thaw(self, *, all_of_them: bool = False) -> None:
        for process, until in list(self._frozen.items()):
            if all_of_them or time.monotonic() > until:
                del self._frozen[process]
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    def _rerun(self) -> None:
        """Of all that is not done, or of what failed as well."""
        name = "first" if self._dice.random() < 0.7 else self._dice.choice(self.names)
        shards = self._dice.choice(((), ("--shards", "0-3"), ("--shards", str(self._dice.randrange(4)))))
        self.do("rerun", name, *shards)

    def _submit(self) -> None:
        self.do("submit", f"{self._dice.choice(self.names)}.yaml")

    def _cancel(self) -> None:
        self._thaw(all_of_them=True)  # one that stands still cannot leave, and is waited for
        self.do("cancel", self._dice.choice(self.names))

    def _at_once(self) -> None:
        commands = (("submit", "second.yaml"), ("rerun", "first"), ("rerun", "first", "--shards", "0-3"))
        self.at_once(self._dice.choice(commands), self._dice.choice(commands))

    def at_once(self, *commands: Sequence[str]) -> None:
        """Commands of other processes."""
        self._commands += [(" ".join(words), start(self._folder, *words)) for words in commands]

    def _mend(self) -> None:
        (self._folder / "mended").touch()

    def _trouble(self) -> None:
        """Those after it cannot read the folder of the first run for a while."""
        self.seen["folder not to be read"] += 1
        (self._folder / "trouble").touch()
        time.sleep(self._dice.uniform(0.1, 1.0))
        (self._folder / "trouble").unlink()

    def end(self) -> None:
        """Until nothing goes on any more."""
        self._thaw(all_of_them=True)
        for words, process in self._commands:
            said, _ = process.communicate(timeout=PATIENCE)
            self.history.append(f"at once {words}: {process.returncode} {said.strip()}")
            assert "Traceback" not in said, said
            assert process.returncode in (0, 1, 2, -signal.SIGTERM), said  # cancelled before it had handed over
        self._commands.clear()
        self.settle()

    def settle(self) -> None:
        wait_until(lambda: not self._alive(), 60)

    def _alive(self) -> list[psutil.Process]:
        return [one for name in self.names for one in processes(run_in(self._folder, name), executors=True)]

    def status(self, name: str) -> Status:
        return StatusReader(run_in(self._folder, name)).read()

    def finish(self) -> None:
        """The first run is run again until it is complete, by a person; the others do by themselves, as far as they can."""
        self._mend()
        self._complete("first")
        for name in self.names[1:]:
            if (found := self.status(name)).state is not RunState.COMPLETE:
                assert not self._is_mild or found.chain.outdated, self.told()
                self.seen[f"{name} was {'outdated' if found.chain.outdated else found.state}"] += 1
                self._complete(name)

    def _complete(self, name: str) -> None:
        for word in (
            "rerun",
            "gather",
            "rerun",
            "gather",
        ):  # gather where all is done, and whoever would have was killed
            if self.status(name).state is not RunState.COMPLETE:
                wanted, before = self._wanted(name), run_in(self._folder, name).submission_numbers()
                self.do(word, name)
                self.settle()
                again = self._submitted(name, before) - wanted
                assert name == "first" or not again, f"{again} of {wanted}\n{self.told()}"
        assert self.status(name).state is RunState.COMPLETE, self.told()

    def _wanted(self, name: str) -> Spans:
        """What is not done, or made of what was done again since, in whole batches."""
        run = run_in(self._folder, name)
        plan = Plan.read(run.plan)
        upstream = Upstream.of(plan)
        stale = plan.table.whole_batches(upstream.stale(run)) if upstream else Spans()
        return Spans([(0, ROWS)]) - done_rows(run) | stale

    def _submitted(self, name: str, before: Sequence[int]) -> Spans:
        """The rows of a run's submissions but for those ``before``."""
        run = run_in(self._folder, name)
        table = Plan.read(run.plan).table
        new = (number for number in run.submission_numbers() if number not in before)
        return union(Submission.read(run.submission(number)).work(table) for number in new)

    def told(self) -> str:
        shown = [command(word, name)[1] for word in ("events", "status") for name in self.names]
        events = (line for text in shown for line in text.splitlines() if '"committed"' not in line)
        return "\n".join([*events, *self.history])

    def assert_right(self) -> None:
        before, by, _ = values(run_in(self._folder, "first"))
        known: np.ndarray | None = None
        for name in self.names[1:]:
            good, taken, found = values(run_in(self._folder, name))
            wrong = np.flatnonzero(good & (taken != by))
            assert not len(wrong), f"{name}: rows {wrong}\n{taken[wrong]}\n{by[wrong]}\n{self.told()}"
            assert known is None or (found["seen"][good] == known[good]).all(), self.told()
            assert not (good & ~before).any(), f"{name}: rows of failed ones\n{self.told()}"
            self._assert_crashed(name, before & ~good)
            assert self.do("verify", name) == 0, self.told()
            before, known = good, found["by2"]

    def _assert_crashed(self, name: str, rows: np.ndarray) -> None:
        """These samples failed although they are there: only one that was killed too often may."""
        with results.open(run_in(self._folder, name).path) as found:
            kinds = dict(zip(found.errors["row"].tolist(), found.errors["kind"].tolist(), strict=True))
        others = {row: kinds[row] for row in np.flatnonzero(rows).tolist() if kinds[row] != "CRASH"}
        assert not others, f"{name}: {others}\n{self.told()}"


def values(run: RunDir) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Which samples are good; who has done the row of the first run; and the outputs."""
    with results.open(run.path) as found:
        failed = np.asarray(found.errors["row"], dtype=int)
        outputs = {name: np.asarray(found[name]) for name in found}
    good = np.ones(ROWS, bool)
    good[failed] = False
    return good, outputs["by"], outputs


def processes(run: RunDir, *, executors: bool) -> list[psutil.Process]:
    """Those that work on a run: array tasks with their children, and executors."""
    found = []
    for process in psutil.process_iter(["cmdline", "pid"]):
        words = process.info["cmdline"] or ()
        is_wanted = executors or "launcher.local" not in words
        if str(run.path.absolute()) in words and process.pid != os.getpid() and is_wanted:
            found.append(process)
    return found
