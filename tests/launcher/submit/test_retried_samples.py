"""Failed samples that a rerun tries again are tried once by it, however often its array tasks are killed on their way."""

import signal
import subprocess
from pathlib import Path
from typing import Any

from jobs.gather.gather import gather
from jobs.storage.attempts import Attempts, read_commits
from jobs.storage.plans import Plan
from jobs.storage.spans import Spans, union
from launcher.runs.submissions import Outcome
from launcher.submit.submit import select_rows
from tests.support.launcher_runs import datasets, wait_until
from tests.support.task_runs import command, make_run, run_task, write_submission


def test_what_was_tried_again_before_a_kill_is_not_tried_a_third_time(tmp_path: Path) -> None:
    bad = {str(row): "raise" for row in range(1, 128, 8)}
    settings: dict[str, Any] = {"max_failed_samples": 1.0, "sync_interval": 0.2, "workers": 1}
    run = make_run(tmp_path / "run", "Toy", 128, batch_size=8, params={"bad": bad, "delay": 0.02}, **settings)
    assert run_task(run).returncode == 0
    Outcome(1.0).write(run, 1)
    rows = select_rows(run, Plan.read(run.plan), [0]).rows
    assert rows == Spans([(0, 128)])  # each batch has a failed sample
    write_submission(run, rows=rows, number=2, **settings)

    def done() -> Spans:
        return union(attempt.beat.done for attempt in Attempts(run, 2).read())

    with subprocess.Popen(command(run, 0, 2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as task:
        wait_until(lambda: done().count >= 24)
        task.send_signal(signal.SIGKILL)
    before = done()
    assert before.count < 128
    assert run_task(run, 0, 2).returncode == 0
    assert done() == rows
    (again,) = [attempt for attempt in Attempts(run, 2).read() if attempt.is_over]
    assert not any(commit.start in before for commit in read_commits(again, rows))
    Outcome(1.0).write(run, 2)
    gather(run)
    assert datasets(run.result)["status"].tolist() == [2 if row % 8 == 1 else 1 for row in range(128)]
