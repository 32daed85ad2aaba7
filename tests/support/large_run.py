"""A run of any number of shards and array tasks as its files would tell of it, with ends of all kinds; nothing is computed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.kinds import EndReason, FailureKind, SampleFailureKind
from jobs.storage.beats import Beat, Held
from jobs.storage.durations import Durations
from jobs.storage.journal import encode
from jobs.storage.plans import Plan
from jobs.storage.records import AttemptStart, Record
from jobs.storage.rundir import RunDir
from jobs.storage.sample_failures import SampleFailures
from jobs.storage.spans import Spans
from jobs.storage.submission import Submission
from launcher.runs.submissions import Outcome
from tests.support.builders import ELSEWHERE, build_plan

BEGIN = 1_790_000_000.0
INTERVAL = 10.0
GIB = 2**30
EVIL = '<script>alert("x")</script> & "quoted"'
"""A message that a page must show as it is."""
_SETUP = 25.0


def build_large_run(path: Path, shards: int, tasks: int, *, rows: int = 10, beats: int = 20) -> RunDir:
    """``rows`` samples a shard. Of every 10 array tasks one is killed, one fails and one is told to leave, near their ends."""
    run = build_plan(path, range(0, rows * (shards + 1), rows), batch_size=rows, tasks=tasks)
    plan, submission = Plan.read(run.plan), Submission.read(run.submission(1))
    for worker, (start, stop) in enumerate(submission.ranges):
        name = f"0001-{worker:05d}-{worker:08x}"
        records = _records(plan, worker, start, stop, beats)
        run.journal(name).write_bytes(b"".join(map(encode, records)))
        log = f"a line\nTraceback (most recent call last):\n  File ...\nValueError: {EVIL}\nthe last line\n"
        run.log(1, worker).write_text(log)
    Outcome(BEGIN + beats * INTERVAL + 1000).write(run, 1)
    return run


def _records(plan: Plan, worker: int, start: int, stop: int, beats: int) -> Iterator[Record]:
    began = BEGIN + 3.0 * (worker % 97)
    yield AttemptStart(
        1, worker, worker, began, f"node{worker % 40:02d}", ELSEWHERE, f"77_{worker}", devices=("cuda:0",), memory=8 * GIB,
        cpus=4, gpus=1, plan=plan.fingerprint,
    )  # fmt: skip
    cut = stop - (plan.batch_size if worker % 10 in (3, 5, 7) else 0)
    for number in range(1, beats + 1):
        done = start + (cut - start) * number // beats // plan.batch_size * plan.batch_size
        at = began + _SETUP + number * INTERVAL * (1 + worker % 5 / 5)
        is_last = number == beats
        yield _beat(number, worker, at, (start, done), (start, stop), began if is_last and worker % 10 != 3 else 0.0)


def _beat(number: int, worker: int, at: float, done: tuple[int, int], claim: tuple[int, int], began: float) -> Beat:
    samples, failed = done[1] - done[0], worker % 7 == 0 and done[1] > done[0]
    failures = SampleFailures(SampleFailureKind.LOAD, f"ValueError: {EVIL}", 1, Spans([(0, 1)]), (f"row {done[0]}",))
    end = {3: None, 5: EndReason.FAILED, 7: EndReason.STOPPED}.get(worker % 10, EndReason.DONE)
    kind = FailureKind.CRASH if end is EndReason.FAILED else None
    ended: dict[str, Any] = {
        "end": end, "kind": kind, "message": f"killed by signal 11: {EVIL}" if kind else "", "seconds": at - began, "cpus": 4,
        "memory_limit": 8 * GIB, "peak_memory": 3 * GIB, "cpu_seconds": 2.5 * (at - began), "gpu_use": 0.6,
        "gpu_memory": 20 * GIB, "gpu_memory_limit": 80 * GIB, "energy": 300.0 * (at - began),
    }  # fmt: skip
    return Beat(
        number, at, Spans([done]), samples - failed, int(failed), at - 1, (Held(0, 1, *claim, 0),), done[1],
        rate=samples / max(at - BEGIN, 1), setup=_SETUP, memory=GIB + worker % 13 * 2**27,
        failures=(failures,) if failed else (), load=Durations({-8: samples // 2, -6: samples - samples // 2}, samples * 0.03),
        process=Durations({-12: samples}, samples * 0.004), both=Durations({-7: samples}, samples * 0.034),
        **(ended if began else {}),
    )  # fmt: skip
