"""TextGeneration against a server without a model, started by the task or running, that fails in every way."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from jobs.errors import InputError, ProcessBroken
from jobs.job import Context
from jobs.kinds import FailureKind
from jobs.node.generators import sample_seed
from jobs.program.argument import Argument
from jobs.storage.rundir import RunDir
from tests.support.launcher_runs import ROOT, wait_until, write_config
from tests.support.patience import PATIENCE
from tests.support.task_runs import (
    alive,
    command,
    content,
    engine,
    engines,
    failures,
    last_end,
    make_run,
    run_task,
    runs,
    written,
)

pytest.importorskip("aiohttp")
from jobs.generation import client as client_module
from jobs.generation import engine as engine_module
from jobs.generation import port as port_module
from jobs.generation.answers import choices_of, outputs_of
from jobs.generation.base_url import proxy_to
from jobs.generation.engine import FIELDS
from jobs.generation.port import listeners

ROWS = 40
JOB = "jobs.text_generation:TextGeneration"


@pytest.fixture(autouse=True)
def _find_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


def generation(path: Path, settings: dict[str, Any] | None = None, **params: Any) -> RunDir:
    """A run of ROWS prompts, "number" and the row."""
    params = {"model": "none", "prompt": "number {x}", "retries": 2, "start_timeout": 60.0, **params}
    return make_run(path, JOB, ROWS, batch_size=1, params=params, **{"in_flight": 8, "workers": 1, **(settings or {})})


def texts(run: RunDir, name: str = "text") -> dict[int, str]:
    return {row: values[name].decode() for row, (_, values, failed) in content(run).items() if not failed}


def answer(row: int, number: int = 0) -> str:
    return f"number {row} / {sample_seed(0, row)} / {number}"


# --- what is stored


@pytest.mark.parametrize("place", ["{socket}", pytest.param("{port}", marks=pytest.mark.thorough)])
def test_each_prompt_has_the_answer_of_a_server_of_its_process(tmp_path: Path, place: str) -> None:
    run = generation(tmp_path / "run", command=engine(tmp_path, place))
    assert run_task(run).returncode == 0
    assert texts(run) == {row: answer(row) for row in range(ROWS)}
    rows, values, _ = content(run)[7]
    assert values["finish_reason"] == b"stop"
    assert np.frombuffer(rows["prompt_tokens"], "<i4").tolist() == [2]
    assert np.frombuffer(rows["completion_tokens"], "<i4").tolist() == [3]


def test_several_answers_logprobs_and_a_schema_are_stored_as_they_are_asked_for(tmp_path: Path) -> None:
    run = generation(
        tmp_path / "run", command=engine(tmp_path), sampling={"n": 2}, schema={"type": "object"}, logprobs=True
    )
    assert run_task(run).returncode == 0
    assert json.loads(texts(run, "text_1")[3]) == {"of": answer(3, 1)}
    _, values, _ = content(run)[3]
    assert np.frombuffer(values["logprobs"], "<f8").tolist() == [-0.5, -1.0]


@pytest.mark.thorough
def test_at_temperature_0_no_seed_is_sent_and_plain_prompts_are_completed(tmp_path: Path) -> None:
    run = generation(tmp_path / "run", command=engine(tmp_path), sampling={"temperature": 0}, chat=False)
    assert run_task(run).returncode == 0
    assert texts(run)[5] == "number 5 / None / 0"


# --- failures


def test_requests_are_made_again_where_that_helps_and_fail_alone_where_it_does_not(tmp_path: Path) -> None:
    bad = {"row3": "429 once", "row4": "503 once", "row5": "nonsense once", "row6": "400", "row7": "500"}
    run = generation(tmp_path / "run", {"max_failed_samples": 2}, command=engine(tmp_path, **bad), retries=1)
    assert run_task(run).returncode == 0
    found = failures(run)
    assert found.keys() == {6, 7}
    assert found[6].message == "RequestFailed: HTTP 400: no such luck"
    assert "HTTP 500: no such luck (1 retries)" in found[7].message
    assert texts(run) == {row: answer(row) for row in range(ROWS) if row not in found}


def test_an_engine_that_dies_is_started_again_and_no_sample_fails(tmp_path: Path) -> None:
    run = generation(tmp_path / "run", command=engine(tmp_path, row20="die once"))
    done = run_task(run)
    assert done.returncode == 0
    assert "the engine python" in done.stdout
    assert "out of everything" in done.stdout  # its log is the task's
    assert texts(run) == {row: answer(row) for row in range(ROWS)}


@pytest.mark.thorough
def test_a_prompt_that_kills_the_engine_each_time_fails_alone(tmp_path: Path) -> None:
    run = generation(tmp_path / "run", {"max_failed_samples": 1}, command=engine(tmp_path, row20="die"), retries=0)
    assert run_task(run).returncode == 0
    assert {row: sample.kind for row, sample in failures(run).items()} == {20: "CRASH"}
    assert texts(run) == {row: answer(row) for row in range(ROWS) if row != 20}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-engine", "{port}"], "the engine 'no-such-engine' cannot be started: No such file or directory"),
        pytest.param(
            ["sh", "-c", "echo no room; exit 3", "{port}"],
            "exit code 3; it said last: no room",
            marks=pytest.mark.thorough,
        ),
        pytest.param(["sleep", "100", "{port}"], "does not answer, 0.5 s after its start", marks=pytest.mark.thorough),
    ],
)
def test_an_engine_that_cannot_start_ends_the_attempt_with_the_end_of_its_log(
    tmp_path: Path, words: list[str], message: str
) -> None:
    words = words if words[0] != "sleep" else ["sh", "-c", "exec sleep 100", "{port}"]
    run = generation(tmp_path / "run", command=words, start_timeout=0.5 if "sleep" in str(words) else 30.0)
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert end.kind is FailureKind.ERROR
    assert message in end.message


@pytest.mark.parametrize("is_long", [False, True])
def test_nothing_is_left_of_an_engine_that_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_long: bool
) -> None:
    from jobs.text_generation import TextGeneration

    tmp, scratch = tmp_path / "tmp", tmp_path / ("long" * 30 if is_long else "scratch")
    monkeypatch.setattr(engine_module, "_TMP", tmp)
    tmp.mkdir()
    scratch.mkdir()
    job = TextGeneration("none", command=["sh", "-c", "echo no room; exit 3", "{port}"], prompt="number {x}")
    with pytest.raises(ProcessBroken, match=r"exit code 3; it said last: no room"):
        asyncio.run(job.setup(context(scratch)))
    assert (list(tmp.iterdir()), list(scratch.iterdir())) == ([], [])
    assert job.teardown() is None


def test_what_a_killed_process_has_left_in_tmp_goes_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp, scratch = tmp_path / "tmp", tmp_path / ("long" * 30)
    monkeypatch.setattr(engine_module, "_TMP", tmp)
    tmp.mkdir()
    scratch.mkdir()
    left = subprocess.run(
        [sys.executable, "-c", "import sys; from pathlib import Path; from jobs.generation import engine;"
         "engine._TMP = Path(sys.argv[1]); print(engine._short_folder(Path(sys.argv[2])))", str(tmp), str(scratch)],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    assert Path(left).parent == tmp
    mine = engine_module._short_folder(scratch)
    assert list(tmp.iterdir()) == [mine]
    assert len(str(mine.relative_to(tmp))) < 60


def test_no_engine_is_left_when_its_process_or_its_task_is_killed(tmp_path: Path) -> None:
    run = generation(tmp_path / "run", command=engine(tmp_path, row20="429"), retries=1_000_000)
    task = psutil.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: written(run) == ROWS - 1)
        (old,) = engines(task)
        process = old.parents()[1]  # above its warden
        process.kill()
        wait_until(lambda: not alive([old]))
        wait_until(lambda: len(engines(task)) == 1)
        (new,) = engines(task)
    finally:
        task.kill()
        task.wait(PATIENCE)
    wait_until(lambda: not alive([new]))


@pytest.mark.thorough
def test_no_engine_is_left_when_try_is_killed(tmp_path: Path) -> None:
    params = {"model": "none", "prompt": "number {x}", "command": engine(tmp_path, row20="429"), "retries": 1_000_000}
    write_config(tmp_path, ROWS, job=JOB, params=params, node={"batch_size": 1})
    words = [sys.executable, "-m", "launcher", "try", "config.yaml", "--row", "20"]
    task = psutil.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: engines(task))
        started = engines(task)
    finally:
        task.kill()
        task.wait(PATIENCE)
    wait_until(lambda: not alive(started))


def context(scratch: Path) -> Context:
    return Context("cpu", 0, None, scratch, 0, 8, ("cpu",))


def test_all_who_ask_an_engine_that_hangs_hear_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.generation import client
    from jobs.text_generation import TextGeneration

    monkeypatch.setattr(client, "_LOOK", 0.1)
    job = TextGeneration("none", command=engine(tmp_path, row20="hang"), prompt="number {x}")

    async def ask() -> list[Any]:
        await job.setup(context(tmp_path))
        try:
            prompts = [[{"role": "user", "content": f"number {row}"}] for row in (1, 20, 21)]
            first = await job.generate(prompts[0], 1)
            monkeypatch.setattr(client, "_SILENCE", 0.3)  # now: on a loaded machine one that is well is silent as long
            rest = await asyncio.gather(*(job.generate(one, 1) for one in prompts[1:]), return_exceptions=True)
            late = await asyncio.gather(job.generate(prompts[0], 1), return_exceptions=True)
            return [first["text"], *rest, *late]
        finally:
            ended = job.teardown()
            assert ended
            await ended

    answered, hung, _, late = asyncio.run(asyncio.wait_for(ask(), PATIENCE))
    assert answered == "number 1 / 1 / 0"
    for error in (hung, late):
        assert isinstance(error, ProcessBroken)
        assert "has not answered for 0.3 s" in str(error)


def test_as_many_answers_as_a_subclass_asks_for_have_names_of_their_own(tmp_path: Path, server: str) -> None:
    from jobs.text_generation import TextGeneration

    job = TextGeneration("none", base_url=server, prompt="{x}")

    async def ask() -> dict[str, Any]:
        await job.setup(context(tmp_path))
        found = await job.generate([{"role": "user", "content": "best of"}], 1, n=3)
        ended = job.teardown()
        assert ended
        await ended
        return found

    found = asyncio.run(ask())
    assert [found[f"text_{number}"] for number in range(3)] == [f"best of / 1 / {number}" for number in range(3)]


def test_the_engines_of_two_processes_have_ports_of_their_own_and_keys_that_no_argument_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = port_module.Port()
    free = iter([first.number, first.number, first.number + 1])
    monkeypatch.setattr(port_module, "free_port", free.__next__)
    second = port_module.Port()
    assert second.number == first.number + 1
    first.close()
    second.close()
    assert "key" not in FIELDS


def test_a_port_at_which_another_users_server_listens_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.text_generation import TextGeneration

    job = TextGeneration("none", command=engine(tmp_path, "{port}"), prompt="{x}")
    users: list[set[int]] = []

    def as_if_of_another(port: int) -> set[int]:
        users.append(listeners(port))
        return {12345}

    monkeypatch.setattr(port_module, "listeners", as_if_of_another)
    with pytest.raises(ProcessBroken, match="another user's server listens at port"):
        asyncio.run(job.setup(context(tmp_path)))
    assert users == [{os.getuid()}]


@pytest.mark.parametrize("does_heed", [True, False])
def test_an_engine_that_is_told_to_end_has_time_to_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does_heed: bool
) -> None:
    monkeypatch.setattr(engine_module, "_END", PATIENCE if does_heed else 0.1)
    cleaned = tmp_path / "cleaned"
    # Longer than what is left by a process that is killed has to end.
    heed = f'trap "sleep 1; touch {cleaned}; exit 0" TERM' if does_heed else 'trap "" TERM'
    words = ["sh", "-c", f"{heed}; setsid sleep 1000 & echo $!; while true; do sleep 0.01; done", "{port}"]

    async def start_and_stop() -> int:
        started = engine_module.Engine([Argument.parse("command", word) for word in words], "", context(tmp_path))

        async def has_said() -> bool:
            return bool(started._tail)

        await started.start(has_said, PATIENCE)
        await started.stop()
        return int(started._tail[0])

    left = asyncio.run(asyncio.wait_for(start_and_stop(), PATIENCE))
    assert (cleaned.exists(), runs(left)) == (does_heed, False)


# --- a server that runs already


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    port = port_module.free_port()
    words = [sys.executable, "-m", "tests.support.fake_engine", str(port), '{"9": "tell key"}']
    with subprocess.Popen(words, cwd=ROOT) as started:
        wait_until(lambda: _is_open(port))
        yield f"http://127.0.0.1:{port}/v1"
        started.kill()


def _is_open(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_that_runs_is_asked_and_its_key_is_in_no_file_though_it_says_it(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret\n")
    run = generation(tmp_path / "run", {"max_failed_samples": 1}, base_url=server, retries=5)
    done = run_task(run)
    assert done.returncode == 0
    assert "very-secret" not in done.stdout + done.stderr
    assert {row: one.message for row, one in failures(run).items()} == {
        9: "RequestFailed: HTTP 401 (its key is $OPENAI_API_KEY of the task): not Bearer ***"
    }
    assert texts(run) == {row: answer(row) for row in range(ROWS) if row != 9}
    assert not [file for file in run.path.rglob("*") if file.is_file() and b"very-secret" in file.read_bytes()]


@pytest.mark.thorough
def test_a_server_that_is_gone_ends_the_attempt_and_no_sample_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = generation(tmp_path / "run", base_url="http://127.0.0.1:9/v1", retries=0)
    assert run_task(run).returncode == 1
    end = last_end(run)
    assert (end.kind, end.failed) == (FailureKind.ERROR, 0)
    assert "the server at http://127.0.0.1:9/v1 does not answer" in end.message


# --- parameters


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "give either command, a server to start, or base_url"),
        ({"command": ["serve"], "prompt": "{x}"}, "one with {socket} or {port}"),
        ({"command": ["serve", "{sockets}"], "prompt": "{x}"}, "'{sockets}' is not valid; valid: {gpus}"),
        ({"base_url": "host:8000", "prompt": "{x}"}, "one that begins with http://"),
        ({"base_url": "http://", "prompt": "{x}"}, "base_url: 'http://' is not valid"),
        ({"base_url": "http://host:port/v1", "prompt": "{x}"}, "base_url: 'http://host:port/v1' is not valid"),
        ({"base_url": "http://host/v1?key=1", "prompt": "{x}"}, "base_url: 'http://host/v1?key=1' is not valid"),
        ({"base_url": "http://host/v1"}, "give either prompt, a text with fields, or messages"),
        ({"base_url": "http://host/v1", "prompt": "{x}", "sampling": {"seed": 1}}, "'seed' is not valid"),
        ({"base_url": "http://host/v1", "messages": "talk", "chat": False}, "chat: False is not valid"),
        ({"base_url": "http://host/v1", "prompt": "{x}", "retries": -1}, "retries: -1 is not valid"),
        ({"base_url": "http://host/v1", "prompt": "{x}", "retries": "5"}, "retries: '5' is not valid"),
        ({"base_url": "http://host/v1", "prompt": "{x}", "request_timeout": 0}, "request_timeout: 0 is not valid"),
        ({"base_url": "http://host/v1", "prompt": "{x}", "sampling": [1]}, "sampling: [1] is not valid"),
    ],
)
def test_parameters_that_cannot_work_are_refused(params: dict[str, Any], message: str) -> None:
    from jobs.text_generation import TextGeneration

    with pytest.raises(InputError) as refused:
        TextGeneration("model", **params)
    assert message in str(refused.value)


class Row(dict[str, Any]):
    index, id = 4, "four"


@pytest.mark.parametrize(
    ("found", "messages"),
    [
        ('[{"role": "user", "content": "hi"}]', [{"role": "user", "content": "hi"}]),
        ([{"role": "user", "content": "hi"}], [{"role": "user", "content": "hi"}]),
        ("hi", "column 'talk' is no JSON here: Expecting value"),
        (None, "column 'talk' has no list of messages here, each with role and content"),
        ("[]", "has no list of messages"),
        ('{"role": "user"}', "has no list of messages"),
        ([{"content": "hi"}], "has no list of messages"),
    ],
)
def test_messages_are_a_list_or_json_or_fail_their_row(found: Any, messages: Any) -> None:
    from jobs.text_generation import TextGeneration

    job: Any = TextGeneration("none", base_url="http://host/v1", messages="talk", system="Be brief.")
    with pytest.raises(ValueError, match=messages) if isinstance(messages, str) else nullcontext():
        assert job.load(Row(talk=found)) == [{"role": "system", "content": "Be brief."}, *messages]


def test_a_password_in_base_url_is_refused_and_not_repeated() -> None:
    from jobs.text_generation import TextGeneration

    with pytest.raises(InputError, match=r"the key in \$OPENAI_API_KEY of the task") as refused:
        TextGeneration("model", base_url="https://me:very-secret@host/v1", prompt="{x}")
    assert "very-secret" not in str(refused.value)


# --- answers


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "gave no answers, but []"),
        (None, "gave no answers, but null"),
        ({"error": {"message": "busy"}}, 'gave no answers, but {"error": {"message": "busy"}}'),
        ({"choices": None}, "gave no answers"),
        ({"choices": []}, "gave 0 of 1 answers"),
        ({"choices": [{}]}, "gave an answer without text: {}"),
        ({"choices": [{"message": None}]}, "gave an answer without text"),
        ({"choices": [{"message": {"content": 7}}]}, "gave an answer without text"),
    ],
)
def test_an_answer_of_another_form_is_told_as_it_is(answer: Any, message: str) -> None:
    with pytest.raises(ValueError, match="the server") as refused:
        outputs_of(choices_of(answer, 1), None, logprobs=False)
    assert message in str(refused.value)


async def _one_answer(job: Any, folder: Path) -> dict[str, Any]:
    await job.setup(context(folder))
    try:
        found: dict[str, Any] = await job.generate([{"role": "user", "content": "hi"}], 1)
        return found
    finally:
        await job.teardown()


def test_a_server_is_asked_through_the_proxy_of_the_environment(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.text_generation import TextGeneration

    monkeypatch.setenv("http_proxy", server.removesuffix("/v1").removeprefix("http://"))
    monkeypatch.setenv("no_proxy", "localhost,.here")
    job = TextGeneration("none", base_url="http://no.such.host/v1", prompt="{x}")
    assert asyncio.run(_one_answer(job, tmp_path))["text"] == "hi / 1 / 0"
    monkeypatch.setenv("all_proxy", "socks5://host:1080")
    assert proxy_to("http://node7.here:8000/v1") is None
    assert proxy_to("https://no.such.host/v1") is None
    monkeypatch.delenv("no_proxy")
    assert proxy_to("http://localhost:8000/v1") is proxy_to("http://127.0.0.1/v1") is None  # the proxy's own is another


def test_a_failure_of_what_is_asked_through_a_proxy_names_the_proxy(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.generation.client import RequestFailed
    from jobs.text_generation import TextGeneration

    monkeypatch.setenv("http_proxy", server.removesuffix("/v1"))
    job = TextGeneration("none", base_url="http://node7:8000/v2", prompt="{x}", retries=0)
    with pytest.raises(
        RequestFailed, match=r"HTTP 404: .* \(through the proxy 127\.0\.0\.1; no_proxy has servers that"
    ):
        asyncio.run(_one_answer(job, tmp_path))


def test_an_answer_that_max_tokens_ended_is_none_of_a_schema(tmp_path: Path, server: str) -> None:
    from jobs.text_generation import TextGeneration

    job = TextGeneration("none", base_url=server, prompt="{x}", schema={"type": "object"}, sampling={"max_tokens": 1})

    with pytest.raises(ValueError, match="cut off by max_tokens"):
        asyncio.run(_one_answer(job, tmp_path))


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("7", 7.0, 8.4), ("86400", 30.0, 36.0), *((no, 0.0, 0.0) for no in (None, "", "soon", "-1", "Wed, 21 Oct 2099"))],
)
def test_a_server_that_says_when_is_not_asked_before(asked: str | None, least: float, most: float) -> None:
    assert least <= client_module._asked_pause(asked) <= most


def test_an_answer_may_be_empty_and_lack_counts() -> None:
    found = outputs_of(
        choices_of({"choices": [{"message": {"content": None}}]}, 1), {"prompt_tokens": None}, logprobs=True
    )
    assert found == {"text": "", "finish_reason": "", "prompt_tokens": 0, "completion_tokens": 0, "logprobs": []}
