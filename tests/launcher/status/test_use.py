"""Use: what array tasks take of what they asked for, as they told it last, together and in words."""

from pathlib import Path

from jobs.kinds import EndReason
from jobs.machine.process_identity import ProcessIdentity
from launcher.status.reader import StatusReader
from launcher.status.use import Use, together
from tests.support.builders import AttemptWriter, build_plan, submit

GIB = 1 << 30


def test_what_is_not_known_is_neither_told_nor_counted() -> None:
    assert Use().words() == ("", "", "")
    assert Use(cpus_asked=4, gpus_asked=2).words() == ("? of 4", "", "? of 2")
    assert Use(0.0, 4, GIB, 8 * GIB, 1.5, 2).line == "CPUs 0.0 of 4, memory 1.0G of 8.0G, GPUs 75% of 2"
    known, old = Use(1.5, 4, GIB, 8 * GIB, 0.5, 1), Use(memory=GIB)
    assert together([known, known]) == Use(3.0, 8, 2 * GIB, 16 * GIB, 1.0, 2)
    assert together([known, old]) == Use(1.5, 0, 2 * GIB, 0, 0.5, 1), "of what one asked for nobody knows"


def test_status_tells_the_use_of_the_array_tasks_at_work_and_of_each_shards(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "run", (0, 16, 32))
    submit(run, claims=True)
    with AttemptWriter(run, 1, 0, cpus=4, memory=4 * GIB) as first:
        first.hold(0, 16)
        first.commit(0, 8)
        first.commit(8, 16)
        first.beat(end=EndReason.DONE, seconds=10.0, cpu_seconds=25.0, peak_memory=2 * GIB, memory=GIB, busy_cpus=0.1)
    here = ProcessIdentity.current().to_json()
    with AttemptWriter(run, 1, 1, process=here, gpus=2, cpus=4, memory=4 * GIB) as second:
        second.hold(16, 32, 1)
        second.beat(memory=GIB, busy_cpus=1.5, busy_gpus=0.25, begun=24)
        told = StatusReader(run).read()
        assert told.use == Use(1.5, 4, GIB, 4 * GIB, 0.5, 2)
        rows = told.to_json(list(told.shard_rows()))["shard_list"]
    assert [(row["cpus"], row["memory"], row["gpus"]) for row in rows] == [(2.5, 2 * GIB, None), (1.5, GIB, 0.5)]
