"""Holders: which attempt of a submission has which rows, as far as claims and beats tell."""

from collections.abc import Sequence
from pathlib import Path

from jobs.storage.attempts import Attempt
from jobs.storage.claims import Claim, ClaimFolder, holdings
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans, union
from jobs.storage.submission import Submission


def worker_of(attempt: str) -> int:
    """The number of the worker whose attempt has that name, whether or not it has come to write its journal."""
    number = attempt.split("-")[1]
    return int(number) if number.isdecimal() else 0  # what is imported names none


def log_of(run: RunDir, attempt: Attempt) -> Path:
    """Where it writes its text."""
    return run.log(attempt.submission, worker_of(attempt.name))


def known_claims(run: RunDir, submission: int, attempts: Sequence[Attempt]) -> set[Claim]:
    """All claims of a submission's attempts, also once its claims folder is gone."""
    told = {
        Claim(held.range, held.claim, attempt.name, held.start, held.stop)
        for attempt in attempts
        for held in attempt.beat.claims
    }
    return told.union(ClaimFolder(run.claims(submission)).read())


def held_rows(run: RunDir, submission: Submission, attempts: Sequence[Attempt]) -> dict[str, Spans]:
    """The rows that each of a submission's attempts has, and that no other has claimed since.

    Of one that died before its first beat, and whose claims are gone with the submission: what its worker begins with.
    """
    covered: dict[str, list[Spans]] = {}
    for claim, rows in holdings(known_claims(run, submission.number, attempts)).items():
        covered.setdefault(claim.attempt, []).append(rows)
    taken = union(rows for many in covered.values() for rows in many)
    told = {name: union(many) for name, many in covered.items()}
    silent = {
        one.name: Spans(submission.ranges[worker_of(one.name) :][:1]) - taken for one in attempts if not one.beat.time
    }
    return {**silent, **told}
