"""StepMessages: what Slurm's own process beside a job wrote into its log about the end. Pure but for reading that file.

It stays where there is no accounting, and after the controller has forgotten the job (MinJobAge). The texts are those of
src/slurmd/slurmstepd/req.c and of the plugins that count memory, from Slurm 20.11 to 25.11.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_SPEAKER = re.compile(r"^slurmstepd\S*: ")
# The batch step alone: those of srun end with it and say the same again.
_ENDED = re.compile(r"\*\*\* JOB (\d{1,18}) ON \S+ (CANCELLED AT|FAILED)(?:.*? DUE TO ([A-Z ]+))?")
_REASONS = {
    "TIME LIMIT": "TIMEOUT",
    "PREEMPTION": "PREEMPTED",
    "JOB REQUEUE": "REQUEUED",
    "NODE FAILURE": "NODE_FAIL",
    "TASK FAILURE": "FAILED",
}
_KILLED = re.compile(r"\bStepId=(\d{1,18})\S* exceeded memory limit")
_MEMORY = re.compile(r"\boom.kill event\b.*? in (?:StepId=|step )(\d{1,18})")


@dataclass(frozen=True)
class StepMessages:
    """By the number of a job, the states in which its starts ended, in their order; and what is said of its memory.

    ``killed`` were seen with too much and killed for that, as which Slurm calls it cancelled; in those ``short`` of it the
    kernel killed some process.
    """

    ends: Mapping[str, list[str]]
    killed: frozenset[str] = frozenset()
    short: frozenset[str] = frozenset()

    @classmethod
    def read(cls, log: Path) -> "StepMessages":
        """Of the log that all elements of a submission share; nothing where it is gone."""
        try:
            with log.open(errors="replace") as lines:
                return cls.of(lines)
        except OSError:
            return cls({})

    @classmethod
    def of(cls, lines: Iterable[str]) -> "StepMessages":
        ends: dict[str, list[str]] = {}
        killed: set[str] = set()
        short: set[str] = set()
        for line in filter(_SPEAKER.match, lines):
            if ended := _ENDED.search(line):
                state = "FAILED" if ended[2] == "FAILED" else _REASONS.get((ended[3] or "").strip(), "CANCELLED")
                ends.setdefault(ended[1], []).append(state)
            elif known := _KILLED.search(line):
                killed.add(known[1])
            elif known := _MEMORY.search(line):
                short.add(known[1])
        return cls(ends, frozenset(killed), frozenset(short))

    def state(self, job: str | None, restarts: int) -> str | None:
        """How a job's last start ended, in the words of the accounting; None where nothing is said of that.

        ``restarts``: how often it was started before. Each start has one message at most.
        """
        if job in self.killed:
            return "OUT_OF_MEMORY"
        own = self.ends.get(job or "", [])
        if len(own) > restarts:
            return own[-1]
        return "OUT_OF_MEMORY" if job in self.short else None
