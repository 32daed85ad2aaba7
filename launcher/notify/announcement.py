"""Announcement: tells whoever ``notify`` names that a run has ended, once for each end, whatever ended it.

A record is made before anything is sent: of several processes that see the end one tells of it, and one that is killed while
it does so may have told nobody, but nobody is told twice. What goes wrong is told in the log and by status, and changes
nothing of the run.
"""

import contextlib
import json
from typing import TYPE_CHECKING, Any

from jobs.errors import LauncherError
from jobs.kinds import RunState
from jobs.storage.rundir import RunDir
from launcher.notify.dispatch import Undelivered, deliver, in_short
from launcher.runs.notices import claim, settle
from launcher.runs.submissions import read_submissions
from launcher.visible import short_line

if TYPE_CHECKING:
    from launcher.status.status import Status

_SHORT = 20
# A variable of the environment takes 128 KiB.
_MOST = 100_000
_ENDS = (RunState.COMPLETE, RunState.FAILED, RunState.INCOMPLETE)


def announce(run: RunDir) -> None:
    """To be called by whoever has ended a submission: does nothing while another one goes on, and where nobody is to be told.

    A run that was cancelled has somebody who knows.
    """
    try:
        _announce(run)
    except (LauncherError, OSError) as error:
        with contextlib.suppress(OSError):
            print(f"notify: {error}", flush=True)


def _announce(run: RunDir) -> None:
    known = [one for one in read_submissions(run) if not one.is_by_hand]
    target = (known[-1].submission.resources.config or {}).get("notify") if known else None
    if not target or any(one.is_open for one in known):
        return
    from launcher.status.reader import StatusReader

    status = StatusReader(run).read()
    # Of the last one that has ended: another may wait for a launcher, which tells of its end when that has come.
    number, to = max((one.number for one in known if one.outcome), default=None), in_short(target)
    if number is None or status.state not in _ENDS:
        return
    if status.state is RunState.INCOMPLETE and status.chain.goes_on:  # with samples that were not there yet
        return
    document = _document(status)  # before the record is made, or the text would say that somebody is being told
    if (notice := claim(run, number, status.state, to)) is None:
        return
    try:
        deliver(target, document, run.path)
    except Undelivered as error:
        print(f"notify: {to} could not be told: {error}", flush=True)
        settle(run, number, notice, str(error))
    else:
        print(f"notify: {to} is told", flush=True)
        settle(run, number, notice, None)


def _document(status: "Status") -> dict[str, Any]:
    """What `status --json` says, but for lists that may be long, with the results and the text of `status`."""
    from launcher.status.progress import status_lines

    told = status.to_json()
    document = {key: value for key, value in told.items() if key not in ("submissions", "silent", "notice")}
    failures = [{**one, "message": short_line(one["message"])} for one in told["failures"][:_SHORT]]
    text = "\n".join(status_lines(status))[: _MOST // 4]
    whole = {**document, "name": status.run.name, "failures": failures, "text": text}
    if len(json.dumps(whole)) <= _MOST:
        return whole
    return {key: value[:_SHORT] if isinstance(value, list) else value for key, value in whole.items()} | {
        "failures": []
    }
