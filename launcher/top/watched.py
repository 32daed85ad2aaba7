"""WatchedRun: a run that is looked at again and again, with what was seen of it last."""

from dataclasses import dataclass, field

from jobs.errors import LauncherError
from jobs.storage.rundir import RunDir
from launcher.runs.find import reference
from launcher.status.pace import Pace
from launcher.status.reader import StatusReader
from launcher.status.status import Status
from launcher.status.views import Looks, Turns


@dataclass
class WatchedRun:
    """``problem``: why the last look failed; what was seen before stays."""

    run: RunDir
    turns: Turns
    status: Status | None = None
    problem: str = ""
    pace: Pace = field(default_factory=Pace)
    _looks: Looks | None = None

    @property
    def name(self) -> str:
        return reference(self.run)

    def look(self) -> float:
        """Reads it anew; returns after how many seconds it may be asked again."""
        try:
            self._looks = self._looks or Looks(StatusReader(self.run), live=True, turns=self.turns)
            self.status, self.problem = self._looks.look(), ""
        except (LauncherError, OSError, ValueError) as error:  # removed, or replaced at this moment
            self._looks, self.problem = None, str(error)
            return 2.0
        self.pace.note(self.status)
        return self._looks.pause()
