"""Examination: all that doctor looks at, by section, each in its time: a dead file server is told, not waited for."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jobs.deadline import within
from jobs.errors import LauncherError
from launcher.config.config import Config
from launcher.config.profile_files import profile_files
from launcher.doctor.file_system import examine_folder
from launcher.doctor.machine import examine_machine
from launcher.doctor.settings import Chosen, chosen_settings
from launcher.executors import EXECUTORS, Executor, Finding, choose_executor

_SECONDS = 15.0
# An executor has limits of its own.
_EXECUTOR_SECONDS = 60.0


@dataclass(frozen=True)
class Examination:
    """What was found, by section."""

    settings: Sequence[Chosen]
    profiles: Sequence[str]
    sections: dict[str, list[Finding]]

    @property
    def missing(self) -> list[Finding]:
        """What lacks something, the needed first."""
        lacking = [one for findings in self.sections.values() for one in findings if one.lacks]
        return sorted(lacking, key=lambda one: not one.is_needed)

    @property
    def is_well(self) -> bool:
        """Whether nothing is missing that is needed."""
        return not any(one.is_needed for one in self.missing)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.is_well,
            "settings": [asdict(one) for one in self.settings],
            "profiles": list(self.profiles),
            "found": {title: [asdict(one) for one in findings] for title, findings in self.sections.items()},
            "missing": [asdict(one) for one in self.missing],
        }


def examine(config: Config) -> Examination:
    """Looks at everything that runs of this config would use."""
    executor = choose_executor(config.executor)
    sections = {
        "machine": _within(_SECONDS, "machine", examine_machine),
        "runs": _within(
            _SECONDS,
            "runs",
            lambda: examine_folder(config.run_folder.parent, is_shared=not executor.stops_with_launcher),
        ),
        executor.title: [
            *_others(executor),
            *_within(_EXECUTOR_SECONDS, executor.title, lambda: executor.examine(config)),
        ],
    }
    return Examination(chosen_settings(config), list(map(str, profile_files())), sections)


def _others(executor: Executor) -> list[Finding]:
    """Executors that are not here."""
    absent = (
        (name, entry.command) for name, entry in EXECUTORS.items() if entry.command and not shutil.which(entry.command)
    )
    return [
        Finding(choose_executor(name).title, f"{command} is not on PATH here: runs are those of {executor.title}")
        for name, command in absent
        if name != executor.name
    ]


def _within(seconds: float, what: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return within(seconds, lambda: list(look()))
    except TimeoutError:
        return [Finding(what, "", f"no answer within {seconds:.0f} s: a file server that is dead?", is_needed=True)]
    except (LauncherError, OSError) as error:
        return [Finding(what, "", str(error), is_needed=True)]
