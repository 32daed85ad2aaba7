"""Events: what has happened to a run, one after another, from its files alone; looked at again, only what is new."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobs.storage.attempts import Attempt, Attempts
from jobs.storage.beats import Beat
from jobs.storage.journal import decode, ended_lines, is_of
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptStart
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from launcher.runs.result_place import result_places
from launcher.runs.submissions import SubmissionState, read_submissions

Event = Mapping[str, Any]
"""``event`` says what it is of, ``time`` when it was, seconds since the epoch; what else is in it: docs/report.md."""


class EventReader:
    """What was told once is not told again."""

    def __init__(self, run: RunDir) -> None:
        """Raises InputError where it is no run."""
        self._run = run
        self._plan = Plan.read(run.plan)
        self._attempts = Attempts(run)
        self._journals: dict[str, _Journal] = {}
        self._told: set[tuple[Any, ...]] = set()

    def read(self) -> list[Event]:
        """What is new, by the clocks of those who wrote it down; a node's may be wrong."""
        submissions = read_submissions(self._run)
        found = [
            *self._of_plan(),
            *self._of_attempts(),
            *self._of_submissions(submissions),
            *self._of_results(submissions),
        ]
        return sorted(found, key=lambda event: float(event["time"]))

    def _once(self, *key: Any) -> bool:
        is_new = key not in self._told
        self._told.add(key)
        return is_new

    def _of_plan(self) -> Iterator[Event]:
        plan = self._plan
        if self._once("planned"):
            told = {"samples": plan.rows, "shards": plan.shard_count, "plan": plan.fingerprint}
            yield {"event": "planned", "time": plan.created, "run": str(self._run.path), **told}

    def _of_submissions(self, submissions: list[SubmissionState]) -> Iterator[Event]:
        for known in submissions:
            one, outcome = known.submission, known.outcome
            is_handed_over = bool(one.job_ids or one.process or outcome) and not one.planned
            if is_handed_over and self._once("submitted", one.number):
                rows = {"samples": one.work(self._plan.table).count, "array_tasks": one.tasks}
                how = {"executor": one.executor, "job_ids": list(one.job_ids), "options": dict(one.resources.options)}
                yield {"event": "submitted", "time": one.created, "submission": one.number, **rows, **how}
            if outcome and self._once("ended", one.number, outcome.ended):
                told = {"cancelled": outcome.cancelled, "error": outcome.error, "notes": list(outcome.notes)}
                yield {"event": "submission-ended", "time": outcome.ended, "submission": one.number, **told}

    def _of_attempts(self) -> Iterator[Event]:
        for attempt in self._attempts.read():
            journal = self._journals.setdefault(attempt.name, _Journal(attempt))
            yield from journal.read()

    def _of_results(self, submissions: list[SubmissionState]) -> Iterator[Event]:
        for place in result_places(self._run, self._plan, submissions):
            try:
                seal, (when, size) = place.seal, place.written()
            except OSError:
                continue
            if self._once("result", place.shown, seal, when):
                yield {"event": "gathered", "time": when, "path": str(place.shown), "seal": seal, "bytes": size}


class _Journal:
    """The events of an attempt, as its journal grows."""

    def __init__(self, attempt: Attempt) -> None:
        self._name = attempt.name
        self._submission = attempt.submission
        self._path: Path = attempt.journal
        self._read = 0
        self._done = Spans()

    def read(self) -> Iterator[Event]:
        for record in self._records():
            if isinstance(record, AttemptStart):
                names = "worker", "host", "job_id", "restart", "devices", "cpus", "gpus", "memory"
                yield self._event("attempt-started", record.time, **{name: getattr(record, name) for name in names})
            elif isinstance(record, Beat):
                yield from self._of_beat(record)

    def _of_beat(self, beat: Beat) -> Iterator[Event]:
        if new := beat.done - self._done:
            self._done = beat.done
            counts = {"samples": new.count, "rows": str(new), "ok": beat.ok, "failed": beat.failed}
            yield self._event("committed", beat.time, **counts, samples_per_second=beat.rate, memory=beat.memory)
        if beat.end:
            names = (
                "end",
                "kind",
                "message",
                "ok",
                "failed",
                "seconds",
                "cpu_seconds",
                "peak_memory",
                "gpu_use",
                "energy",
            )
            told = {name: getattr(beat, name) for name in names}
            given_up = [{"shard": one.shard, "kind": one.kind, "message": one.message} for one in beat.given_up]
            yield self._event("attempt-ended", beat.time, **told, given_up=given_up)

    def _event(self, event: str, time: float, **told: Any) -> Event:
        return {"event": event, "time": time, "submission": self._submission, "attempt": self._name, **told}

    def _records(self) -> Iterator[object]:
        """What is new; a line that is being written is left for the next time."""
        try:
            if os.path.getsize(self._path) <= self._read:
                return
            for end, line in ended_lines(self._path, self._read):
                self._read = end
                if is_of(line, Beat, AttemptStart):  # those of commits are many, and are not decoded
                    yield decode(line)
        except FileNotFoundError:  # cleaned since
            return
