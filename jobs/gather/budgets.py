"""Budgets: how many samples of each shard may fail, as the newest submission says that had it."""

from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission


class Budgets:
    """Of all shards of a run, as its submissions were when it was made."""

    def __init__(self, run: RunDir, plan: Plan) -> None:
        newest_first = (Submission.read(run.submission(number)) for number in reversed(run.submission_numbers()))
        table = plan.table
        self._plan = plan
        self._settings = [(table.shards_in(one.work(table)), one.node) for one in newest_first]

    def of(self, shard: int) -> int:
        """The most samples of a shard that may fail; all of them where no submission has had it."""
        rows = self._plan.shard(shard).rows
        node = next((node for shards, node in self._settings if shard in shards), None)
        return node.failure_budget(rows) if node else rows
