"""Notices of a run's end: who gets what, once, and that nothing of it can harm the run."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InputError
from jobs.kinds import FailureKind
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.submission import Submission
from launcher.config.config import load_config
from launcher.notify import dispatch
from launcher.notify.announcement import announce
from launcher.notify.dispatch import Undelivered, deliver, in_short
from launcher.plan.plan import make_plan
from launcher.runs.failures import Failure
from launcher.runs.notices import Notice, read_notice
from launcher.runs.submissions import Outcome
from launcher.submit.submit import record
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import (
    document,
    executor_pid,
    kill,
    launcher,
    run_of,
    start,
    status,
    wait_until,
    write_config,
)
from tests.support.patience import PATIENCE
from tests.support.slurm_runs import SlurmRun, use_cluster


class Server:
    """Takes POSTs and keeps them; answers with ``code``, or, ``silent``, with a byte now and then for ever."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.code = 200
        self.silent = False
        self.begun = self.given_up = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.begun += 1
                while server.silent:
                    try:
                        self.wfile.write(b"H")
                    except OSError:  # who told was killed
                        server.given_up += 1
                        return
                    time.sleep(0.05)
                server.posts.append(json.loads(body))
                server.paths.append(self.path)
                self.send_response(server.code)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.silent = False
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def writer(folder: Path, *more: str) -> list[str]:
    """A command that appends what it gets, a JSON document a line."""
    script = folder / "tell.py"
    script.write_text(
        "import json, os, sys\n"
        f"with open({str(folder / 'told')!r}, 'a') as file:\n"
        "    words = {'words': sys.argv[1:], 'text': sys.stdin.read(), **json.loads(os.environ['LAUNCHER_NOTICE'])}\n"
        "    print(json.dumps(words), file=file)\n"
    )
    return [sys.executable, str(script), *more]


def told(folder: Path) -> list[dict[str, Any]]:
    path = folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


# --- of local runs


def test_a_command_gets_the_text_the_document_and_its_words(tmp_path: Path) -> None:
    config = write_config(tmp_path, 20, notify=writer(tmp_path, "{name}: {state}", "{{x}}", "{run}"))
    done = launcher(tmp_path, "run", config.name)
    assert done.returncode == 0, done.stderr
    run, (found,) = run_of(config), told(tmp_path)
    assert found["words"] == ["toy: complete", "{x}", str(run.path)]
    assert (found["state"], found["samples"]["ok"], found["results"]) == ("complete", 20, [str(run.result)])
    assert "complete: 20 of 20 samples" in found["text"]
    assert "notify" not in found["text"]
    assert status(tmp_path, run)["notice"]["sent"] is True
    assert "is told" in run.submission_log(1).read_text()
    assert launcher(tmp_path, "run", config.name).returncode == 0  # there is nothing to do, and nothing ended
    assert len(told(tmp_path)) == 1


def test_a_server_gets_one_post_once_all_retries_have_ended_and_one_for_the_next_end(
    tmp_path: Path, server: Server
) -> None:
    config = write_config(tmp_path, 8, shards=1, job="DyingSetup", retry={"attempts": 2}, notify=f"{server.url}/hook")
    assert launcher(tmp_path, "run", config.name).returncode == 1
    run = run_of(config)
    assert len(run.submission_numbers()) == 2
    (found,) = server.posts
    assert (found["state"], found["samples"]["missing"], found["failures"][0]["kind"]) == ("failed", 8, "CRASH")
    assert "rerun" in found["failures"][0]["advice"]
    assert launcher(tmp_path, "run", config.name).returncode == 1
    assert [post["state"] for post in server.posts] == ["failed", "failed"]


@pytest.mark.thorough
def test_what_goes_wrong_is_told_and_changes_nothing(tmp_path: Path, server: Server) -> None:
    server.code = 404
    config = write_config(tmp_path, 8, notify=f"{server.url}/secret-path")
    done = launcher(tmp_path, "run", config.name)
    run = run_of(config)
    assert done.returncode == 0
    problem = f"{server.url.removeprefix('http://')} could not be told: it answers 404 Not Found"
    assert f"  notify: {problem}\n" in done.stdout
    assert problem in run.submission_log(1).read_text()
    assert status(tmp_path, run)["notice"] | {"time": 0} == {
        "time": 0, "state": "complete", "to": server.url.removeprefix("http://"), "sent": False,
        "error": "it answers 404 Not Found",
    }  # fmt: skip
    for path in (run.submission_log(1), run.notice(1)):
        assert "secret-path" not in path.read_text()


def test_what_a_variable_holds_is_in_no_file_of_the_run(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", f"{server.url}/geheim")
    config = write_config(tmp_path, 8, notify="$HOOK")
    assert launcher(tmp_path, "run", config.name).returncode == 0
    assert server.paths == ["/geheim"]
    files = [path for path in run_of(config).path.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if b"geheim" in path.read_bytes()] == []


@pytest.mark.thorough
def test_a_run_that_was_cancelled_has_somebody_who_knows(tmp_path: Path) -> None:
    config = write_config(tmp_path, 200, params={"delay": 0.3}, notify=writer(tmp_path))
    process = start(tmp_path, "run", config.name)
    run = run_of(config)
    wait_until(lambda: any(run.attempts.glob("*.journal")) if run.attempts.is_dir() else False)
    assert launcher(tmp_path, "cancel", run.path).returncode == 0
    process.communicate(timeout=PATIENCE)
    assert (told(tmp_path), status(tmp_path, run)["state"]) == ([], "cancelled")


def test_whoever_is_killed_while_telling_tells_nobody_twice(tmp_path: Path, server: Server) -> None:
    server.silent = True
    config = write_config(tmp_path, 8, notify=server.url)
    process = start(tmp_path, "run", config.name)
    run = run_of(config)
    wait_until(lambda: server.begun)
    pid = executor_pid(run)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: server.given_up)
    server.silent = False
    assert status(tmp_path, run)["notice"]["sent"] is None
    assert "is being told, or whoever did so was killed" in launcher(tmp_path, "status", run.path).stdout
    announce(run)
    assert server.posts == []
    kill(process)


# --- who tells, of several


def ended(folder: Path, *outcomes: Outcome | None, notify: Any) -> RunDir:
    """A run with submissions that ended so, or go on."""
    config = load_config(write_config(folder, 8, notify=notify))
    planned = make_plan(config)
    for shard, outcome in enumerate(outcomes):
        made = record(planned.run, config, Plan.read(planned.run.plan).table.rows_of([shard]))
        if outcome:
            outcome.write(planned.run, made.number)
    return planned.run


def test_nobody_is_told_while_another_submission_goes_on(tmp_path: Path) -> None:
    run = ended(tmp_path, None, Outcome(1.0), notify=writer(tmp_path))
    announce(run)
    assert told(tmp_path) == []
    Outcome(2.0).write(run, 1)
    announce(run)
    announce(run)
    assert [one["state"] for one in told(tmp_path)] == ["incomplete"]


def test_of_several_that_see_the_end_one_tells(tmp_path: Path) -> None:
    run = ended(tmp_path, Outcome(1.0), notify=writer(tmp_path))
    threads = [threading.Thread(target=announce, args=[run]) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told(tmp_path)) == 1


def test_a_document_of_any_run_fits_into_an_environment(tmp_path: Path) -> None:
    failures = {shard: Failure(FailureKind.CRASH, f"{shard:07d} \udc80 " * 100, shard) for shard in range(40)}
    config = load_config(write_config(tmp_path, 4000, shards=2000, notify=writer(tmp_path)))
    planned = make_plan(config)
    made = record(planned.run, config, planned.plan.table.rows_of(range(2000)))
    others = {shard: Failure(FailureKind.LOST, "gone", shard) for shard in range(40, 2000)}
    Outcome(1.0, failures={**failures, **others}).write(planned.run, made.number)
    announce(planned.run)
    (found,) = told(tmp_path)
    assert (found["state"], found["shards"]["failed"], len(found["failures"]) <= 20) == ("failed", 2000, True)
    assert "\\udc80" in found["text"]


def test_a_record_that_is_damaged_harms_nobody(tmp_path: Path) -> None:
    run = ended(tmp_path, Outcome(1.0), notify=None)
    run.notice(1).write_bytes(b"{")
    assert read_notice(run, 1) is None
    assert "notice" not in status(tmp_path, run)
    assert Submission.read(run.submission(1)).number == 1


# --- dispatch


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (["/no/such/program"], "cannot be started: No such file or directory"),
        (["false"], "exit status 1"),
        (["sh", "-c", "sleep 60 & sleep 60"], "had not ended after 1 s, and was killed"),
        ("http://127.0.0.1:1/x", "Connection refused"),
        ("http://[x", "cannot be asked"),
        ("https://example.org/$NOT_SET_ANYWHERE", "the variable NOT_SET_ANYWHERE of its URL is not set"),
        ("$NOT_SET_ANYWHERE", "the variable NOT_SET_ANYWHERE"),
    ],
)
def test_what_cannot_be_told_is_explained(
    tmp_path: Path, target: str | list[str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "SECONDS", 1.0)
    with pytest.raises(Undelivered, match=problem):
        deliver(target, {"text": "t"}, tmp_path)


def test_a_server_that_never_ends_its_answer_is_left(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "SECONDS", 0.5)
    server.silent = True
    with pytest.raises(Undelivered, match=r"no answer within 0 s"):
        deliver(server.url, {"text": "t"}, tmp_path)


def test_a_post_is_not_followed_elsewhere(tmp_path: Path, server: Server) -> None:
    server.code = 302
    with pytest.raises(Undelivered, match="it answers 302 Found"):
        deliver(server.url, {"text": "t"}, tmp_path)
    assert server.paths == ["/"]


def test_what_may_be_secret_is_not_shown() -> None:
    assert in_short(["curl", "-H", "Token: x"]) == "curl"
    assert in_short("https://me:word@hooks.example.org/services/T0/secret?key=x") == "hooks.example.org"
    assert in_short("$HOOK") == "a URL"


def test_a_notice_tells_a_person_only_what_went_wrong() -> None:
    assert Notice(0.0, "complete", "mail", True).problem is None
    assert Notice(0.0, "complete", "mail", False, "why").problem == "mail could not be told: why"


# --- the key


@pytest.mark.parametrize("value", [["mail", "-s", "{name}", "me"], "https://a.org/b", "$HOOK", "${HOOK}/x", None])
def test_commands_and_urls_are_valid(tmp_path: Path, value: Any) -> None:
    config = load_config(write_config(tmp_path, notify=value))
    assert config.to_mapping()["notify"] == value


@pytest.mark.parametrize(
    ("value", "message"),
    [("mail me", "must be a command as a list of words"), ([], "must be a command"), (["a", 3], "must be a command"),
     ("ftp://a.org", "must be a command"), (["a", "{nmae}"], "valid in braces: {name}, {state}, {run}"), (True, "must be a"),
     (["a", "{"], "for a brace itself, write it twice"), (["a", "{name!r}"], "valid in braces"), ([""], "must be a command")],
)  # fmt: skip
def test_other_values_are_refused(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(write_config(tmp_path, notify=value))
    assert "config.yaml:1: notify" in str(caught.value)
    assert message in str(caught.value)


# --- on Slurm


@pytest.mark.thorough
@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_the_finalize_job_tells_once_after_the_last_retry(
    clean_slurm: SlurmCluster, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cluster(clean_slurm, monkeypatch)
    toy = SlurmRun(
        clean_slurm, tmp_path, "DyingSetup", rows=8, shards=1, retry={"attempts": 2},
        notify=f"{server.url}/hook",
    )  # fmt: skip
    toy.submit()
    assert toy.end()["state"] == "failed"
    toy.wait(lambda: (toy.status().get("notice") or {}).get("sent"))
    assert toy.run.submission_numbers() == [1, 2]
    assert [(post["state"], post["samples"]["missing"]) for post in server.posts] == [("failed", 8)]
    done = toy.launcher("rerun", toy.run.path, "--set", "job.class=tests.example_jobs.toy_jobs:Toy", "--json")
    assert document(done)["job_ids"], done.stderr
    assert toy.end()["state"] == "complete"
    toy.wait(lambda: len(server.posts) == 2)
    assert server.posts[1]["results"] == [str(toy.run.result)]
