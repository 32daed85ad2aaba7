"""Which rows of a run are worth computing again though they are done: what is damaged, and samples that failed."""

from collections.abc import Iterator

from jobs.gather.committed import Committed
from jobs.gather.damage_check import find_damage
from jobs.gather.sources import read_sources
from jobs.storage.plans import Plan
from jobs.storage.records import Commit
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union


def damaged_rows(run: RunDir, plan: Plan, rows: Spans) -> Spans:
    """Those of the closed rows that no attempt has as it committed them; every byte of the others is read."""
    if not rows:
        return Spans()
    found = find_damage(Committed(read_sources(run), plan.table, rows), rows.stop)
    return Spans((damage.start, damage.stop) for damage in found)


def failed_batches(run: RunDir, plan: Plan, rows: Spans) -> Iterator[Commit]:
    """The commits that count of those of the closed rows, and that have failed samples."""
    sources = read_sources(run)
    looked_at = union(source.owned for source in sources if source.attempt.beat.failed) & rows
    batches = Committed(sources, plan.table, looked_at).batches()
    return (stored.commit for stored in batches if stored.commit.failed)
