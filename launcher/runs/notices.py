"""Notices: who was told that a run had ended, in submissions/NNNN.notice of its last submission."""

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.storage import checked_json
from jobs.storage.files import publish, temporary_name, write_bytes
from jobs.storage.rundir import RunDir

if TYPE_CHECKING:
    from launcher.documents.status import NoticeDocument


@dataclass(frozen=True)
class Notice:
    """``to``: the program or the server; ``sent``: None while it is on its way, or for ever where its process was killed."""

    time: float
    state: str
    to: str
    sent: bool | None = None
    error: str | None = None

    def to_json(self) -> "NoticeDocument":
        return {"time": self.time, "state": self.state, "to": self.to, "sent": self.sent, "error": self.error}

    @property
    def problem(self) -> str | None:
        """What a person should know of it, where it did not arrive."""
        if self.sent is None:
            return f"{self.to} is being told, or whoever did so was killed"
        return None if self.sent else f"{self.to} could not be told: {self.error}"


def claim(run: RunDir, number: int, state: str, to: str) -> Notice | None:
    """The notice that this process is to send; None where another one has sent it, or is about to."""
    notice = Notice(time.time(), state, to)
    path, temporary = run.notice(number), temporary_name(run.notice(number))
    try:
        write_bytes(temporary, checked_json.encode(notice.to_json()))
        return notice if publish(temporary, path) else None
    finally:
        temporary.unlink(missing_ok=True)


def settle(run: RunDir, number: int, notice: Notice, error: str | None) -> None:
    """Records how sending it went."""
    ended = dataclasses.replace(notice, sent=error is None, error=error)
    write_bytes(run.notice(number), checked_json.encode(ended.to_json()))


def read_notice(run: RunDir, number: int) -> Notice | None:
    """None where nobody was to be told, or where it is damaged: nothing depends on it."""
    try:
        return Notice(**checked_json.decode(run.notice(number).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
