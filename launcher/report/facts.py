"""Facts: what a report is made of, read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from launcher.report.bill import Bill, Prices, make_bill
from launcher.runs.history import History
from launcher.status.status import Status


@dataclass(frozen=True)
class Facts:
    """Of a run as its files stood at ``now``."""

    run: RunDir
    plan: Plan
    status: Status
    histories: Sequence[History]
    prices: Prices
    now: float

    @property
    def begin(self) -> float:
        """When the first attempt began; 0 before."""
        return min((one.begin for one in self.histories), default=0.0)

    @property
    def end(self) -> float:
        """When one was heard of last."""
        return max((one.end for one in self.histories), default=0.0)

    @property
    def has_limits(self) -> bool:
        """Whether its array tasks are given memory and time."""
        return bool(self.status.known_executor and self.status.known_executor.has_limits)

    @cached_property
    def bill(self) -> Bill:
        return make_bill(self.histories, self.status.shards.closed.count, self.prices)
