"""Provenance: where a result comes from, as it says itself."""

import os
import time
from dataclasses import asdict, replace
from typing import Any

from jobs.gather.survey import Survey
from jobs.storage.plans import Plan
from jobs.storage.records import Part
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission


def provenance(run: RunDir, plan: Plan, part: Part, survey: Survey) -> dict[str, Any]:
    """Where a result comes from: the plan, its part of that, its submissions, the software, this machine."""
    submissions = [_without_rows(Submission.read(run.submission(number)), plan) for number in run.submission_numbers()]
    manifest = {key: value for key, value in plan.manifest.items() if key != "digests"}
    slim = replace(plan, boundaries=(), manifest=manifest).to_json()
    known = {key: value for key, value in slim.items() if key != "boundaries"}
    own = {"part": asdict(part)} if plan.parts else {}
    return {**known, **own} | {
        "shards": plan.shards_of(part).count,
        "submissions": submissions,
        "versions": {name: sorted(versions) for name, versions in sorted(survey.versions.items())},
        "rows_by_code": {code or "unknown": str(rows) for code, rows in sorted(survey.code.items())},
        "gathered": time.time(),
        "host": os.uname().nodename,
    }


def _without_rows(submission: Submission, plan: Plan) -> dict[str, Any]:
    """A submission, but for which rows it had."""
    own = {"node": asdict(submission.node), "resources": asdict(submission.resources)}
    known = {**vars(submission), **own, "shards": plan.table.shards_in(submission.work(plan.table)).count}
    return {key: value for key, value in known.items() if key not in ("rows", "ranges")}
