"""Shortfall: what keeps results from being complete, in words, with what to do."""

from collections.abc import Iterator, Sequence

from jobs.gather.survey import Survey
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.spans import union


def shortfall(run: RunDir, plan: Plan, surveys: Sequence[Survey]) -> Iterator[str]:
    """Nothing where each sample was computed, and each shard ended within its budget of failed samples."""
    if not_done := union(survey.not_done for survey in surveys):
        missing = sum(survey.missing for survey in surveys)
        yield (
            f"{not_done.count:,} of {plan.shard_count:,} shards are not done ({not_done.brief()}), {missing:,} of "
            f"{plan.rows:,} samples have no result yet: `launcher rerun {run.argument}` runs what is missing"
        )
    if over := union(survey.over_budget for survey in surveys):
        yield (
            f"in {over.count:,} of {plan.shard_count:,} shards ({over.brief()}) more samples failed than "
            f"node.max_failed_samples allows: `launcher errors {run.argument}` lists them, `launcher status {run.argument}` "
            "says how to go on"
        )
