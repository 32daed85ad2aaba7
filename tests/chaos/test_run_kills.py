"""kill -9 of any process of a run, the launcher included, at any moment: the result's bytes stay the same.

CHAOS_KILLS=1000 in the environment is the long version, of some minutes: 50 rounds, over 100,000 samples in all.
"""

import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from jobs.storage.attempts import Attempts, owners, read_commits, read_head
from jobs.storage.blocks import BlockReader
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from tests.support.chaos import amount
from tests.support.launcher_runs import datasets, kill, launcher, run_of, start, write_config
from tests.support.task_runs import await_end, done_rows

KILLS = min(20, amount("KILLS", 10, 20))
ROUNDS = max(1, amount("KILLS", KILLS) // KILLS)
ROWS = 800 if ROUNDS == 1 else 2000
LATE = KILLS // 10
"""Kills of those that finalize and gather, of KILLS in all."""
SYNC = 0.2
# What a beat may come late by on a machine that is busy with other things, seconds.
SLACK = 10.0
_DEPTHS = ("launcher", "executor", "supervisor", "fork server")


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_kills_of_any_process_of_a_run_leave_the_same_result_and_no_orphan(tmp_path: Path, seed: int) -> None:
    tally = tmp_path / "tally"
    settings: dict[str, Any] = {
        "rows": ROWS,
        "job": "Everything",
        "shards": 4,
        "node": {"batch_size": 16, "processes": 2},
    }
    calm = write_config(tmp_path / "calm", **settings)
    assert launcher(calm.parent, "run", calm).returncode == 0
    params = {"tally": str(tally), "wait": 0.4}
    config = write_config(tmp_path / "wild", **settings, params=params)
    killer, starts = Killer(config, tally, random.Random(seed)), 0
    while not run_of(config).result.exists():
        starts += 1
        assert starts < 3 * KILLS
        killer.run()
    assert killer.count
    assert launcher(config.parent, "verify", run_of(config).path).returncode == 0
    assert_same(run_of(config), run_of(calm))
    computed, window = computed_again(run_of(config), tally)
    print(f"{killer.count} kills ({killer.told}), {starts} starts; {computed - ROWS} of {ROWS} rows computed again, "
          f"of an attempt that was killed at most the last {window:.1f} s")  # fmt: skip
    assert window <= SYNC + SLACK


def assert_same(run: RunDir, calm: RunDir) -> None:
    """The same datasets, and nothing of what counts is damaged."""
    expected, found = datasets(calm.result), datasets(run.result)
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    for owned in owners(Attempts(run).read()):
        with BlockReader(read_head(owned.attempt).files) as files:
            assert not any(files.damaged(commit.blocks) for commit in read_commits(owned.attempt, owned.rows))


def computed_again(run: RunDir, tally: Path) -> tuple[int, float]:
    """How many rows were computed in all; and of how long an attempt's work is missing in its beats, at most."""
    batches: dict[int, list[tuple[float, list[int]]]] = {}
    for line in tally.read_text().splitlines():
        supervisor, time, *rows = line.split()
        if supervisor == "process":
            continue
        batches.setdefault(int(supervisor), []).append((float(time), list(map(int, rows))))
    done = {one.start.process["pid"]: one.beat.done for one in Attempts(run).read() if one.start}
    window = 0.0
    for pid, own in batches.items():
        last = max(time for time, _ in own)
        lost = [time for time, rows in own if rows[0] not in done.get(pid, Spans())]
        window = max([window, *(last - time for time in lost)])
    return sum(len(rows) for own in batches.values() for _, rows in own), window


class Killer:
    """Runs `launcher run` again and again, and kills random processes of it, one or two at a time."""

    def __init__(self, config: Path, tally: Path, dice: random.Random) -> None:
        self._config = config
        self._tally = tally
        self._dice = dice
        self._kinds = Counter[str]()
        self._late = 0

    @property
    def count(self) -> int:
        return self._kinds.total()

    @property
    def told(self) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self._kinds.items()))

    def run(self) -> None:
        """Once, to its end; nothing of it is left then."""
        process = start(self._config.parent, "run", self._config)
        root = psutil.Process(process.pid)
        seen: set[psutil.Process] = {root}
        while process.poll() is None:
            try:
                process.wait(self._dice.uniform(0.02, 0.5))
            except subprocess.TimeoutExpired:
                tree = dict(self._tree(root))
                seen |= set(tree)
                self._strike(tree)
        kill(process)
        seen |= set(of_run(self._config))
        await_end(list(seen))

    def _tree(self, root: psutil.Process) -> Iterator[tuple[psutil.Process, int]]:
        """All processes, with how far they are from the launcher."""
        rest = [(root, 0)]
        while rest:
            process, depth = rest.pop()
            yield process, depth
            try:
                rest += [(child, depth + 1) for child in process.children()]
            except psutil.NoSuchProcess:
                continue

    def _strike(self, tree: dict[psutil.Process, int]) -> None:
        # Else most kills would be of launchers that have started nothing yet.
        if len(tree) <= len(_DEPTHS) and self._dice.random() < 0.97:
            return
        run = run_of(self._config)
        ends = run.plan.exists() and done_rows(run).count == ROWS
        if self.count >= KILLS or (ends and self._late >= LATE):
            return
        self._late += ends
        for process in self._dice.sample(list(tree), k=min(len(tree), self._dice.choice((1, 1, 1, 2)))):
            kind = self._kind(process, tree[process])
            self._kinds[f"{kind} at the end" if ends else kind] += 1
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _kind(self, process: psutil.Process, depth: int) -> str:
        if depth < len(_DEPTHS):
            return _DEPTHS[depth]
        if self._tally.exists() and f"process {process.pid}\n" in self._tally.read_text():
            return "device process"
        with suppress(psutil.NoSuchProcess):
            if process.children():
                return "guardian"
        return "pool worker"


def of_run(config: Path) -> list[psutil.Process]:
    """Processes that name the run's folder, also those whose parents are gone."""
    text = str(config.parent)
    return [
        p
        for p in psutil.process_iter(["cmdline", "pid"])
        if text in " ".join(p.info["cmdline"] or ()) and p.pid != os.getpid()
    ]


@pytest.mark.thorough
def test_a_gather_that_is_killed_at_any_moment_leaves_a_whole_result_or_none(tmp_path: Path) -> None:
    config = write_config(tmp_path, 20_000, job="Everything", node={"batch_size": 500})
    assert launcher(tmp_path, "run", config).returncode == 0
    run, dice = run_of(config), random.Random(8)
    expected = datasets(run.result)
    kills = max(5, amount("KILLS", 0) // 20)
    for _ in range(kills):
        run.result.unlink(missing_ok=True)
        gather = start(tmp_path, "gather", run.path)
        with suppress(subprocess.TimeoutExpired):
            gather.wait(dice.uniform(0.2, 1.2))
        kill(gather)
        if run.result.exists():
            found = datasets(run.result)
            assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert launcher(tmp_path, "gather", run.path).returncode == 0
    assert {name: data.tobytes() for name, data in datasets(run.result).items()} == {
        name: data.tobytes() for name, data in expected.items()
    }
    print(f"{kills} kills of gather")
