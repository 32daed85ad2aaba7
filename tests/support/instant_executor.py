"""InstantExecutor: submissions are computed where they are started, in the process of the test: a run in milliseconds.

What the Job ``Everything`` would store is stored by AttemptWriter; all else (planning, submitting, finalize, gather) is the
launcher's own.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jobs.node.supervisor.attempt_start import new_name
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.cli import main
from launcher.config.settings import RetrySettings
from launcher.executors import EXECUTORS, Registered
from launcher.local.local_executor import LocalExecutor
from launcher.retry.finalize import Ending, WithoutLimits, finalize
from launcher.retry.policy import Terms
from launcher.submit.downstream import start_waiting
from tests.support.builders import AttemptWriter


class InstantExecutor(LocalExecutor):
    """Whatever is started has ended when ``start`` returns."""

    name = "instant"
    title = "the test process"

    def start(self, run: RunDir, submissions: Sequence[Submission], *, attached: bool) -> list[Submission]:
        plan = Plan.read(run.plan)
        waiting = list(submissions)
        while waiting:
            submission = waiting.pop(0)
            attempt = AttemptWriter(run, submission.number, name=new_name(submission.number, 0))
            attempt.commit_all(submission.work(plan.table))
            attempt.end()
            asked = WithoutLimits(Terms(submission.resources.attempt))
            waiting += finalize(run, plan, submission, Ending(), asked, RetrySettings(submission.resources.attempts))
        start_waiting(run)
        return list(submissions)


@contextmanager
def instant_executor() -> Iterator[None]:
    """It is there by the name "instant", also for submissions that the local executor has begun."""
    EXECUTORS["instant"] = Registered(f"{__name__}:InstantExecutor", None, restarts_tasks=False)
    try:
        yield
    finally:
        del EXECUTORS["instant"]


def command(*arguments: object) -> tuple[int, str]:
    """A command of the launcher, in this process; returns its exit code and all that it printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(list(map(str, arguments)))
    return code, said.getvalue()


def go_on(config: Path, *more: str) -> tuple[int, str]:
    """`launcher run`, with this executor."""
    return command("run", config, "--set", "executor=instant", *more)
