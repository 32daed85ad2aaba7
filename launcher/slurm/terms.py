"""SbatchTerms: the terms of a submission's array tasks, read from the sbatch options it was asked with and written as such."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from jobs.storage.submission import Resources, Submission
from launcher.config.settings import RetrySettings
from launcher.retry.policy import Terms, more
from launcher.runs.causes import NextAttempt
from launcher.slurm.ceilings import ceilings_for
from launcher.slurm.parsers import amount
from launcher.slurm.scripts import asked_options
from launcher.slurm.task_size import task_size
from launcher.slurm.time_limit import warning
from launcher.units import format_memory, format_time, parse_memory, parse_time

if TYPE_CHECKING:
    from launcher.config.config import Config

_MEMORY_OPTIONS = ("mem", "mem-per-cpu", "mem-per-gpu")
# A list of nodes may have commas in its brackets: n[1,3-5],login.
_BETWEEN_NODES = re.compile(r",(?![^\[]*\])")


class SbatchTerms:
    """What was asked for a submission. Memory is asked for anew in the way that it was: in all, per CPU or per GPU."""

    def __init__(self, config: "Config", submission: Submission) -> None:
        asked = asked_options(config, submission.resources)
        self._config = config
        self._asked = asked
        self._submission = submission
        self.notes: tuple[str, ...] = ()
        excluded = asked.get("exclude")
        self._memory = next((name for name in _MEMORY_OPTIONS if name in asked), "mem")
        self.terms = Terms(
            attempt=submission.resources.attempt,
            memory=amount(parse_memory, asked.get(self._memory)) or None,  # 0 is all of a node
            time=amount(parse_time, asked.get("time")),
            excluded_nodes=tuple(_BETWEEN_NODES.split(excluded)) if excluded else (),
        )

    def limited(self, retry: RetrySettings, wanted: Collection[NextAttempt]) -> RetrySettings:
        """No job is asked for that Slurm would refuse, or never start."""
        if not {NextAttempt.MORE_MEMORY, NextAttempt.MORE_TIME} & set(wanted):
            return retry
        most = ceilings_for(self._asked, self._submission.cluster)
        memory = most.memory and most.memory // self._shares()
        due = more(self.terms.memory, retry.memory_factor, retry.max_memory)
        if NextAttempt.MORE_MEMORY in wanted and memory and due and due > memory:
            limit = f"the nodes of partition {most.partition} allow {format_memory(memory)} at most"
            self.notes += (f"another attempt would ask for --{self._memory}={format_memory(due)}: {limit}",)
        due = more(self.terms.time, retry.time_factor, retry.max_time)
        if NextAttempt.MORE_TIME in wanted and most.time and due and due > most.time:
            limit = f"partition {most.partition} allows {format_time(most.time)} at most"
            self.notes += (f"another attempt would ask for --time={format_time(due)}: {limit}",)
        return replace(retry, max_memory=_least(retry.max_memory, memory), max_time=_least(retry.max_time, most.time))

    def _shares(self) -> int:
        """By how many the memory of a node is shared, as it is asked for."""
        if self._memory == "mem":
            return 1
        size = task_size(self._config, self._asked)
        return max(size.cpus if self._memory == "mem-per-cpu" else size.gpus, 1)

    def resources(self, before: Resources, terms: Terms) -> Resources:
        """What the next submission is asked with: of another time limit the warning before it is another."""
        own = replace(before, options=self.options(terms))
        time = asked_options(self._config, own).get("time")
        return replace(own, warning=warning(self._config, time, own.default_time))

    def options(self, terms: Terms) -> Mapping[str, str]:
        """The submission's options that differ from the config's, for other terms."""
        options = dict(self._submission.resources.options)
        if terms.memory is not None and terms.memory != self.terms.memory:
            options[self._memory] = format_memory(terms.memory)
        if terms.time is not None and terms.time != self.terms.time:
            options["time"] = format_time(terms.time)
        if terms.excluded_nodes != self.terms.excluded_nodes:
            options["exclude"] = ",".join(terms.excluded_nodes)
        return options


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
