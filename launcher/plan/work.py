"""Work: gives a submission its rows, with all that its array tasks have to know of them."""

from collections import Counter
from dataclasses import replace

from jobs.storage.attempts import Attempts
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission
from jobs.storage.upstreams import Upstream
from launcher.plan.cutting import assign


def with_work(run: RunDir, plan: Plan, submission: Submission, rows: Spans, tasks: int) -> Submission:
    """The submission with these rows for so many array tasks, fewer where there are not as many batches."""
    # By shard, what failed of its other rows: what may fail of a shard is counted of all of it. Only shards that have both.
    table = plan.table
    others = table.rows_of((table.shards_in(rows) - table.whole_shards(rows)).numbers) - rows
    others &= union(attempt.beat.done for attempt in Attempts(run).read())
    failed_before = failed_by_shard(run, plan, others) if others else {}
    upstream = Upstream.of(plan)
    to_come = upstream is not None and bool(rows & (upstream.to_come() or Spans()))
    return replace(assign(plan, submission, rows, tasks, to_come=to_come), failed_before=failed_before)


def failed_by_shard(run: RunDir, plan: Plan, rows: Spans) -> dict[int, int]:
    """How many of these rows are failed samples, by shard, without the shards that have none."""
    from jobs.gather.redo import failed_batches

    found = Counter[int]()
    for commit in failed_batches(run, plan, rows):
        found[plan.table.shard_at(commit.start)] += len(commit.failed)
    return dict(found)
