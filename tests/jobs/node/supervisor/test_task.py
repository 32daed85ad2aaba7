"""Array tasks: real supervisors, processes and pool workers, and everything that samples and signals can do to them."""

import json
import re
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from jobs.kinds import EndReason, FailureKind
from jobs.node.supervisor.attempt import AttemptLog
from jobs.node.supervisor.dealer import KILLS
from jobs.node.supervisor.meter import Usage
from jobs.storage.claims import Claim, ClaimFolder
from jobs.storage.plans import Plan
from jobs.storage.records import Commit
from jobs.storage.rundir import RunDir
from jobs.storage.samples import read_digests
from jobs.storage.spans import Spans
from jobs.storage.stamps import STAMP
from jobs.storage.submission import Submission
from tests.example_jobs import toy_jobs
from tests.support.builders import change_plan
from tests.support.launcher_runs import wait_until
from tests.support.patience import PATIENCE
from tests.support.task_runs import (
    attempts,
    await_end,
    command,
    commits,
    content,
    done_rows,
    failures,
    is_done,
    last_end,
    make_run,
    run_task,
    write_submission,
    written,
)


@pytest.mark.parametrize(
    ("processes", "workers"),
    [pytest.param(1, 0, marks=pytest.mark.thorough), (1, 1), (2, 2), pytest.param(3, 0, marks=pytest.mark.thorough)],
)
def test_the_bytes_do_not_depend_on_processes_and_workers(tmp_path: Path, processes: int, workers: int) -> None:
    reference = make_run(tmp_path / "reference", "Random", 500, workers=2)
    other = make_run(tmp_path / "other", "Random", 500, workers=workers, processes=processes)
    assert run_task(reference).returncode == run_task(other).returncode == 0
    assert content(reference) == content(other)
    told = last_end(other)
    assert told.load.samples == told.process.samples == told.both.samples == 500
    assert told.both.seconds == pytest.approx(told.load.seconds + told.process.seconds, abs=0.01)


@pytest.mark.parametrize("workers", [0, 2])
def test_kills_that_meet_at_one_batch_change_no_bytes(tmp_path: Path, workers: int) -> None:
    reference = make_run(tmp_path / "reference", "Random", 200)
    params = {"tally": str(tmp_path / "tally"), "times": KILLS - 1}
    run = make_run(tmp_path / "run", "Struck", 200, params=params, workers=workers)
    assert run_task(reference).returncode == run_task(run).returncode == 0
    assert (tmp_path / "tally").stat().st_size == 2 * (KILLS - 1)
    assert content(run) == content(reference)


@pytest.mark.parametrize(
    ("workers", "wait"),
    [
        (0, 0),
        pytest.param(2, 0, marks=pytest.mark.thorough),
        pytest.param(0, 0.03, marks=pytest.mark.thorough),
        (2, 0.03),
    ],
)
def test_each_bad_sample_fails_alone_with_its_kind(tmp_path: Path, workers: int, wait: float) -> None:
    bad = {"3": "raise", "21": "exit", "40": "segfault", "77": "sleep", "150": "shape", "170": "process-kill"}
    bad |= {"180": "process-raise"}
    settings = {"workers": workers, "sample_timeout": 1, "max_failed_samples": 20}
    run = make_run(tmp_path / "run", "Toy", 200, params={"bad": bad, "wait": wait}, **settings)
    done = run_task(run)
    assert done.returncode == 0
    assert "sample 40 failed (CRASH): the" in done.stdout
    assert "sample 77 failed (SAMPLE_TIMEOUT): took longer" in done.stdout
    said = (done.stdout + done.stderr).encode().splitlines()
    by = {stamp["speaker"].decode() for stamp in map(STAMP.match, said) if stamp}
    assert by & ({"p0.w0", "p0.w1"} if workers else {"p0"})  # one may have met no bad sample
    assert "task" in by
    found = {row: (sample.kind, sample.message) for row, sample in failures(run).items()}
    assert found.keys() == {int(row) for row in bad}
    assert found[3] == ("LOAD", "ValueError: bad sample")
    assert found[21] == ("LOAD", "SystemExit: 3")
    assert found[40][0] == found[170][0] == "CRASH"
    assert "SIGSEGV" in found[40][1]
    assert "SIGKILL" in found[170][1]
    assert found[77] == ("SAMPLE_TIMEOUT", "took longer than sample_timeout (1 s)")
    assert found[150][0] == "PROCESS"
    assert "output 'y' is <f8 [n, 5]; the first batch had <f8 [n, 4]" in found[150][1]
    assert found[180] == ("PROCESS", "RuntimeError: bad in process")
    assert last_end(run).ok == 200 - len(bad)


def test_a_wrong_number_of_rows_is_told_as_it_is_and_never_hidden_by_smaller_batches(tmp_path: Path) -> None:
    """Of one sample this Job gives one row, so samples by themselves would seem to be right."""
    run = make_run(tmp_path / "run", "Pairs", 24, batch_size=6, workers=1, max_failed_samples=24)
    assert run_task(run).returncode == 0
    found = failures(run)
    assert found.keys() == set(range(24))
    message = "output 'y' has 3 rows for a batch of 6 samples"
    assert all(sample.kind == "PROCESS" and message in sample.message for sample in found.values())


@pytest.mark.thorough
def test_a_sample_that_allocates_without_bound_fails_alone(tmp_path: Path) -> None:
    settings = {"memory": 2 << 30, "max_failed_samples": 1}
    run = make_run(tmp_path / "run", "Toy", 64, params={"bad": {"20": "allocate"}}, **settings)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {20: "OUT_OF_MEMORY"}


def test_good_samples_of_a_bad_batch_keep_their_values(tmp_path: Path) -> None:
    clean = make_run(tmp_path / "clean", "Toy", 64, batch_size=64)
    hurt = make_run(
        tmp_path / "hurt", "Toy", 64, batch_size=64, params={"bad": {"9": "process-raise"}}, max_failed_samples=1
    )
    assert run_task(clean).returncode == run_task(hurt).returncode == 0
    (expected, texts, _), (found, _, _) = content(clean)[0], content(hurt)[0]
    row_bytes = len(expected["y"]) // 64
    assert found["y"][: 9 * row_bytes] == expected["y"][: 9 * row_bytes]
    assert found["y"][10 * row_bytes :] == expected["y"][10 * row_bytes :]
    assert texts["text"].startswith(b"row 0row 1")


def test_outputs_that_are_views_of_the_batch_are_stored_as_they_were(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Echo", 3000, batch_size=8)
    assert run_task(run).returncode == 0
    for start, (rows, _, _) in content(run).items():
        values = np.frombuffer(rows["y"]).reshape(-1, 16)
        assert (values == np.arange(start, start + len(values))[:, None]).all()


@pytest.mark.parametrize("workers", [0, 1])
def test_while_a_device_computes_results_are_stored_and_stay_as_they_were(tmp_path: Path, workers: int) -> None:
    run = make_run(tmp_path / "run", "Waits", 3000, batch_size=64, workers=workers)
    assert run_task(run).returncode == 0
    seen = []
    for start, (rows, _, _) in content(run).items():
        values = np.frombuffer(rows["y"]).reshape(-1, 16)
        assert (values == np.arange(start, start + len(values))[:, None]).all()
        seen.append(tuple(np.frombuffer(rows["threads"], np.int64)[:2]))
    assert seen[0] == (1, 1)
    assert seen[-1] == (1, 2)


def test_a_shard_with_too_many_failed_samples_is_given_up_and_a_rerun_tries_them_again(tmp_path: Path) -> None:
    bad = {str(row): "raise" for row in range(20, 40)}
    run = make_run(tmp_path / "run", "Toy", 3300, shards=3, params={"bad": bad}, max_failed_samples=0.01)
    done = run_task(run)
    assert done.returncode == 1
    assert "is done, but shards 0 are given up: " in done.stdout
    end = last_end(run)
    assert (end.end, end.kind) == ("done", None)
    (given_up,) = end.given_up
    assert (given_up.shard, given_up.kind) == (0, "TOO_MANY_FAILED_SAMPLES")
    assert "11 may (node.max_failed_samples); for example: ValueError: bad sample" in given_up.message
    assert [is_done(run, shard) for shard in (1, 2)] == [True, True]
    redo = Spans([(0, 1100)]) - done_rows(run) | Spans((start, start + 16) for start in (16, 32))
    write_submission(run, rows=redo, number=2, max_failed_samples=20)
    assert run_task(run, submission=2).returncode == 0
    assert is_done(run)
    assert failures(run).keys() == set(range(20, 40))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_that_cannot_be_told_fails_its_sample_alone(tmp_path: Path, workers: int) -> None:
    job = "tests.example_jobs.wordless_jobs:RaisesWordless"
    run = make_run(tmp_path / "run", job, 40, batch_size=8, workers=workers, max_failed_samples=2)
    done = run_task(run)
    assert done.returncode == 0
    message = "Wordless: (its text cannot be told: __str__ raised RuntimeError)"
    assert {row: (failed.kind, failed.message) for row, failed in failures(run).items()} == {
        3: ("LOAD", message),
        5: ("PROCESS", message),
    }
    assert "raise Wordless" in done.stderr


@pytest.mark.parametrize("workers", [0, 1])
def test_a_small_shard_is_finished_and_tells_how_many_of_its_samples_failed(tmp_path: Path, workers: int) -> None:
    settings = {"workers": workers, "max_failed_samples": 0}
    run = make_run(tmp_path / "run", "Toy", 42, batch_size=8, params={"bad": {"3": "raise", "40": "raise"}}, **settings)
    assert run_task(run).returncode == 0
    end = last_end(run)
    assert (end.end, end.given_up, is_done(run)) == ("done", (), True)
    assert (end.failed, end.shared) == (2, {0: 2})


@pytest.mark.thorough
def test_batches_of_a_shard_that_is_given_up_are_left_alone(tmp_path: Path) -> None:
    bad = {str(row): "raise" for row in range(4)}
    run = make_run(tmp_path / "run", "Toy", 40_000, shards=2, batch_size=4, params={"bad": bad, "delay": 0.0001})
    assert run_task(run).returncode == 1
    assert (is_done(run, 0), is_done(run, 1)) == (False, True)
    assert len(commits(run)) < 4_000


def test_three_shards_given_up_in_a_row_end_the_attempt_as_an_error_of_the_job(tmp_path: Path) -> None:
    bad = {str(row): "raise" for row in range(64, 640)}
    run = make_run(tmp_path / "run", "Toy", 640, shards=10, params={"bad": bad})
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert (end.end, end.kind) == ("failed", "ERROR")
    assert "every sample so far failed: ValueError: bad sample" in end.message
    assert len(end.given_up) >= 3, "what was in hand then may have had another"


def test_a_job_that_fails_every_sample_of_its_only_shard_is_an_error_of_the_job(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 64, params={"bad": {str(row): "raise" for row in range(64)}})
    assert run_task(run).returncode == 1
    (given_up,) = last_end(run).given_up
    assert given_up.kind == "ERROR"
    assert given_up.message == "every sample so far failed: ValueError: bad sample"


@pytest.mark.parametrize(
    ("worker", "message"), [(False, "setup: RuntimeError: no such model"), (True, "no such tokenizer")]
)
def test_an_exception_in_setup_is_an_error_with_its_traceback_in_the_log(
    tmp_path: Path, worker: bool, message: str
) -> None:
    run = make_run(tmp_path / "run", "BadSetup", 64, params={"worker": worker})
    ended = run_task(run)
    assert ended.returncode == 1
    end = last_end(run)
    assert end.kind == "ERROR"
    assert message in end.message
    assert set(re.findall(r'File "(.*)", line', ended.stderr)) == {toy_jobs.__file__}  # another worker may tell it too


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["cut short", "rows"])
def test_samples_that_are_not_those_of_the_plan_end_the_attempt(tmp_path: Path, workers: int, damage: str) -> None:
    run = make_run(tmp_path / "run", "Toy", 20, workers=workers)
    if damage == "rows":
        make_run(tmp_path / "other", "Toy", 12).manifest.replace(run.manifest)
    else:
        run.manifest.write_bytes(run.manifest.read_bytes()[:200])
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert end.kind == "ERROR"
    expected = "has 12 rows, and the plan 20" if damage == "rows" else "cut short or damaged"
    assert f"{run.manifest}" in end.message
    assert expected in end.message


@pytest.mark.parametrize("workers", [0, 1])
def test_a_manifest_that_is_not_what_was_planned_fails_the_attempt_and_no_sample(tmp_path: Path, workers: int) -> None:
    run = make_run(tmp_path / "run", "Toy", 20, workers=workers)
    change_plan(run, manifest={"digests": list(read_digests(run.manifest))})
    text = run.manifest.read_bytes()
    run.manifest.write_bytes(text.replace((11).to_bytes(8, "little"), (99).to_bytes(8, "little"), 1))
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert (end.kind, end.failed, end.done) == (FailureKind.DISK, 0, Spans())
    assert "manifest.arrow: does not have the samples that were planned; bring back a copy" in end.message


def test_a_submission_of_another_plan_is_not_begun(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 20)
    replace(Submission.read(run.submission(1)), plan="another").write(run.submission(1))
    done = run_task(run)
    assert done.returncode == 2
    assert "submission 1 is of another plan" in done.stderr
    assert not attempts(run)


@pytest.mark.parametrize("content", ["", "{", '{"number": 1}'])
def test_a_damaged_submission_is_one_message(tmp_path: Path, content: str) -> None:
    run = make_run(tmp_path / "run", "Toy", 20)
    run.submission(1).write_text(content)
    done = run_task(run)
    assert done.returncode == 1
    assert "0001.json: cut short or damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_that_cannot_start_ends_the_attempt(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "DyingSetup", 64)
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert end.kind == "CRASH"
    assert "died 3 times in a row: signal 11 (SIGSEGV)" in end.message


@pytest.mark.parametrize("wait", [0, 0.03])
def test_a_process_that_dies_again_and_again_at_no_sample_ends_the_attempt(tmp_path: Path, wait: float) -> None:
    # Of several workers, one may be through with the batch at 160 before another is with the one at 144.
    run = make_run(tmp_path / "run", "Unstorable", 800, params={"wait": wait}, workers=1)
    ended = run_task(run)
    assert (ended.returncode, "nobody thought of this" in ended.stderr) == (1, True)
    end = last_end(run)
    assert end.kind == "CRASH"
    assert "died 3 times in a row" in end.message
    assert set(commits(run)) == set(range(0, 160, 16))


def test_a_shard_whose_samples_all_fail_within_the_budget_is_done(tmp_path: Path) -> None:
    bad = {str(row): "raise" for row in range(8)}
    run = make_run(tmp_path / "run", "Toy", 8, params={"bad": bad}, max_failed_samples=1.0)
    assert run_task(run).returncode == 0
    assert is_done(run)
    assert (last_end(run).ok, last_end(run).failed) == (0, 8)
    assert not run.layout.exists()


@pytest.mark.parametrize(
    ("stop", "params"),
    [
        (signal.SIGTERM, {"delay": 0.002}),
        (signal.SIGINT, {"delay": 0.002}),
        (signal.SIGUSR2, {"delay": 0.002}),
        (signal.SIGTERM, {"wait": 0.03}),
    ],
)
def test_a_signal_commits_and_leaves_and_the_next_attempt_goes_on(
    tmp_path: Path, stop: signal.Signals, params: dict[str, float]
) -> None:
    run = make_run(tmp_path / "run", "Random", 2000, params=params)
    task = subprocess.Popen(command(run))
    wait_for_commits(run, 8)
    tree = psutil.Process(task.pid).children(recursive=True)
    task.send_signal(stop)
    assert task.wait(PATIENCE) == 75
    assert last_end(run).end == "stopped"
    await_end(tree)
    before = done_rows(run)
    assert before
    assert run_task(run).returncode == 0
    assert last_end(run).done == Spans([(0, 2000)]) - before
    undisturbed = make_run(tmp_path / "undisturbed", "Random", 2000)
    assert run_task(undisturbed).returncode == 0
    assert content(run) == content(undisturbed)


def test_signals_of_one_request_commit_and_leave(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Random", 2000, params={"delay": 0.002})
    task = subprocess.Popen(command(run))
    wait_for_commits(run, 8)
    for _ in range(3):  # of the scheduler, and of those that have started the task
        task.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    assert task.wait(PATIENCE) == 75
    assert last_end(run).end == "stopped"


def test_a_second_signal_ends_the_task_at_once(tmp_path: Path) -> None:
    hangs = tmp_path / "hangs"
    job, params = "tests.example_jobs.hanging_jobs:HangsOnce", {"marker": str(hangs), "row": 40}
    run = make_run(tmp_path / "run", job, 64, params=params, workers=0)
    task = subprocess.Popen(command(run))
    wait_until(hangs.exists)
    tree = psutil.Process(task.pid).children(recursive=True)
    while task.poll() is None:  # those that come together count as one
        task.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    assert task.wait() == 75
    assert attempts(run)[-1].beat.end is None, "it has not waited for the batch at hand"
    await_end(tree)


def test_no_process_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Random", 5000, params={"delay": 0.002}, processes=2)
    task = subprocess.Popen(command(run))
    wait_for_commits(run, 2)
    tree = psutil.Process(task.pid).children(recursive=True)
    assert len(tree) >= 7
    task.kill()
    task.wait()
    await_end(tree)


def test_a_task_leaves_when_its_parent_dies(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Random", 5000, params={"delay": 0.002})
    shell = ["sh", "-c", '"$@" --parent $$ & wait', "sh", *command(run)]
    parent = subprocess.Popen(shell)
    wait_for_commits(run, 2)
    tree = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.wait()
    await_end(tree)
    assert last_end(run).end == "stopped"


def test_two_starts_of_one_task_share_its_work(tmp_path: Path) -> None:
    """As after a requeue that came too early, or a double submission by hand."""
    run = make_run(tmp_path / "run", "Random", 4000, params={"delay": 0.002}, workers=1, sync_interval=0.2)
    undisturbed = make_run(tmp_path / "undisturbed", "Random", 4000)
    tasks = [subprocess.Popen(command(run)) for _ in range(2)]
    assert [task.wait(PATIENCE) for task in tasks] == [0, 0]
    assert run_task(undisturbed).returncode == 0
    assert content(run) == content(undisturbed)
    assert all(attempt.beat.end == "done" for attempt in attempts(run))


def test_a_batch_whose_first_part_came_before_the_layout_is_checked_against_it(tmp_path: Path) -> None:
    """Half of the first batch is done, then the second makes the layout, then the rest of the first fails."""
    run = make_run(tmp_path / "run", "TwoForms", 12, batch_size=4, workers=1, max_failed_samples=4)
    assert run_task(run).returncode == 0
    found = {row: sample.message for row, sample in failures(run).items()}
    assert found.keys() == {0, 1, 2, 3}
    assert "output 'y' is <f4 [n]; the first batch had <i8 [n]" in found[0]
    stored = [np.frombuffer(content(run)[start][0]["y"], np.int64).tolist() for start in (4, 8)]
    assert stored == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert content(run)[0][0] == {}


def test_what_another_has_taken_over_is_left_to_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 8000, params={"delay": 0.005}, workers=1, sync_interval=0.2)
    with subprocess.Popen(command(run), stdout=subprocess.DEVNULL) as task:
        wait_for_commits(run, 2)
        other = AttemptLog(run, Plan.read(run.plan), Submission.read(run.submission(1)), "0001-00001-other")
        other.begin(1, 1, ("cpu",))
        taken = Claim(0, 2, other.name, 800, 8000)
        assert ClaimFolder(run.claims(1)).take(taken)
        other.hold(taken, {})
        other.commit([Commit(start, start + 16) for start in range(800, 8000, 16)])
        other.end(EndReason.DONE, None, "", Usage())
        other.close()
        assert task.wait(PATIENCE) == 0
    (mine,) = [attempt.beat for attempt in attempts(run) if attempt.name != other.name]
    assert mine.end == "done"
    assert not Spans([(0, 800)]) - mine.done
    assert mine.done.count < 2000  # what its processes had in hand
    assert mine.begun == 800


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGUSR2])
def test_a_task_that_waits_for_work_shows_that_it_lives_and_leaves_when_told(
    tmp_path: Path, stop: signal.Signals
) -> None:
    run = make_run(tmp_path / "run", "Toy", 64, sync_interval=0.1)
    other = AttemptLog(run, Plan.read(run.plan), Submission.read(run.submission(1)), "0001-00001-other")
    other.begin(1, 1, ("cpu",))
    assert ClaimFolder(run.claims(1)).take(Claim(0, 1, other.name, 0, 64))
    with subprocess.Popen(command(run), stdout=subprocess.DEVNULL) as task:
        wait_until(lambda: any(attempt.beat.number >= 3 for attempt in attempts(run)))
        task.send_signal(stop)
        assert task.wait(PATIENCE) == 75
    other.close()
    (mine,) = [attempt.beat for attempt in attempts(run) if attempt.name != other.name]
    assert (mine.end, mine.done, mine.claims) == ("stopped", Spans(), ())


def test_outputs_that_differ_from_those_of_the_run_fail_one_by_one(tmp_path: Path) -> None:
    """Another attempt had the first batch."""
    run = make_run(tmp_path / "run", "TwoForms", 12, batch_size=4, workers=0, max_failed_samples=4)
    run.layout.write_text('{"outputs": [{"name": "y", "ragged": false, "dtype": "<i2", "shape": []}]}')
    run_task(run)
    assert any("the first batch had <i2 [n]" in cause.message for cause in last_end(run).failures)
    assert set(failures(run)) >= {0, 1, 2, 3}


def test_a_task_for_which_nothing_is_left_leaves_before_it_imports_what_work_takes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 64, tasks=2)
    assert run_task(run).returncode == 0
    for index in (0, 1):
        program, *own = command(run, index)
        late = subprocess.run(
            [program, "-X", "importtime", *own], capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        assert "others have done all of it; nothing to do" in late.stdout
        assert not re.search("numpy|pyarrow", late.stderr)
    assert len(attempts(run)) == 1


def test_a_submission_that_has_ended_has_no_work(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 64)
    run.claims(1).rmdir()
    ended = run_task(run)
    assert (ended.returncode, attempts(run)) == (0, [])
    assert "has ended" in ended.stdout


def test_a_submission_of_an_older_version_is_bad_input_that_says_what_to_do(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 64)
    made = Submission.read(run.submission(1))
    old = {**vars(made), "groups": [[0]], "node": vars(made.node), "resources": {}}
    for name in ("rows", "ranges", "tasks", "shards"):
        del old[name]
    run.submission(1).write_text(json.dumps(old))
    ended = run_task(run)
    assert ended.returncode == 2
    assert f"launcher rerun {run.path}" in ended.stderr


def test_a_claim_may_hold_shards_that_do_not_lie_together(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 300, shards=3)
    run.claims(1).rmdir()
    write_submission(run, [0, 2])
    assert run_task(run).returncode == 0
    assert [is_done(run, shard) for shard in range(3)] == [True, False, True]


@pytest.mark.thorough
def test_a_claim_of_more_batches_than_a_crew_takes_at_a_time_is_done(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "NoTorch", 12_000, batch_size=2, shards=7, workers=0, sync_interval=0.2)
    assert run_task(run).returncode == 0
    assert done_rows(run) == Spans([(0, 12_000)])
    (attempt,) = attempts(run)
    assert attempt.beat.ok == 12_000
    assert len([commit for shard in range(7) for commit in commits(run, shard)]) == len(
        list(Plan.read(run.plan).table.batches(Spans([(0, 12_000)])))
    )


def test_all_processes_take_part_each_with_its_device(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Where", 800, processes=2, workers=1)
    assert run_task(run).returncode == 0
    rows = b"".join(rows["process"] for rows, _, _ in content(run).values())
    assert set(rows[::8]) == {0, 1}


def test_a_job_without_torch_never_pays_for_it(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "NoTorch", 64)
    assert run_task(run).returncode == 0
    for rows, _, _ in content(run).values():
        assert set(rows["worker"]) == set(rows["process"]) == {0}


def test_a_run_that_does_not_exist_is_bad_input(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*command(make_run(tmp_path / "run", "Toy", 8))[:4], str(tmp_path / "other"), "1", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "no run directory" in ended.stderr
    assert "Traceback" not in ended.stderr


def wait_for_commits(run: RunDir, count: int) -> None:
    wait_until(lambda: written(run) >= count)
