"""SbatchTerms: the terms of a submission's array tasks, read from the sbatch options it was asked with and written as such."""

import re
from collections.abc import Callable, Mapping

from jobs.storage.plans import Submission
from launcher.config.config import Config
from launcher.retry.policy import Terms
from launcher.slurm.scripts import asked_options
from launcher.units import format_memory, format_time, parse_memory, parse_time

_MEMORY_OPTIONS = ("mem", "mem-per-cpu", "mem-per-gpu")
# A list of nodes may have commas in its brackets: n[1,3-5],login.
_BETWEEN_NODES = re.compile(r",(?![^\[]*\])")


class SbatchTerms:
    """What was asked for a submission. Memory is asked for anew in the way that it was: in all, per CPU or per GPU."""

    def __init__(self, config: Config, submission: Submission) -> None:
        asked = asked_options(config, submission.resources)
        excluded = asked.get("exclude")
        self._changed = submission.resources.options
        self._memory = next((name for name in _MEMORY_OPTIONS if name in asked), "mem")
        self.terms = Terms(
            attempt=submission.resources.attempt,
            memory=amount(parse_memory, asked.get(self._memory)),
            time=amount(parse_time, asked.get("time")),
            excluded_nodes=tuple(_BETWEEN_NODES.split(excluded)) if excluded else (),
        )

    def options(self, terms: Terms) -> Mapping[str, str]:
        """The submission's options that differ from the config's, for other terms."""
        options = dict(self._changed)
        if terms.memory is not None and terms.memory != self.terms.memory:
            options[self._memory] = format_memory(terms.memory)
        if terms.time is not None and terms.time != self.terms.time:
            options["time"] = format_time(terms.time)
        if terms.excluded_nodes != self.terms.excluded_nodes:
            options["exclude"] = ",".join(terms.excluded_nodes)
        return options


def amount(parse: Callable[[str], int], text: str | None) -> int | None:
    """Bytes or seconds of what Slurm writes, None where it is none: UNLIMITED, nothing. n or c mean per node or CPU."""
    try:
        return parse(text.rstrip("nc")) if text else None
    except ValueError:
        return None
