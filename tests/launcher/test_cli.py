"""The command line: exit codes, one JSON document, and messages that say what is wrong and what is valid."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from jobs.kinds import EndReason, FailureKind
from jobs.storage import checked_json
from launcher.arguments import make_parser
from launcher.runs.submissions import Outcome
from tests.support.builders import AttemptWriter, build_plan
from tests.support.launcher_runs import command, document, environment, in_process, launcher, run_of, write_config

COMMANDS = [
    "run",
    "plan",
    "submit",
    "rerun",
    "extend",
    "probe",
    "try",
    "status",
    "top",
    "logs",
    "errors",
    "report",
    "metrics",
    "events",
    "list",
    "cancel",
    "gather",
    "verify",
    "clean",
    "export",
    "jobs",
    "init",
    "schema",
    "doctor",
    "completion",
    "man",
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planned run."""
    config = write_config(tmp_path_factory.mktemp("cli"))
    (config.parent / "other.yaml").write_text("name: other\nnode: {worker: 3}\n")
    (config.parent / "nameless.yaml").write_text("runs: runs\n")
    assert launcher(config.parent, "plan", config.name).returncode == 0
    return config


def test_the_commands_are_those_that_exist() -> None:
    _, commands = make_parser()
    assert list(commands) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(config: Path, name: str) -> None:
    shown = in_process(config.parent, name, "--help")
    assert shown.returncode == 0
    assert "--json" in shown.stdout


BAD_INPUT = {
    "no command": ([], "COMMAND"),
    "mistyped command": (["stauts"], "did you mean status?"),
    "unknown flag": (["status", "--shard"], "did you mean --shards?"),
    "abbreviated flag": (["gather", "--allow"], "did you mean --allow-missing?"),
    "missing argument": (["run"], "CONFIG"),
    "no such config": (["run", "confg.yaml"], "no such file"),
    "folder as config": (["run", "."], "not a run directory"),
    "unknown key": (["plan", "config.yaml", "--set", "node.worker=2"], "node.workers"),
    "malformed override": (["plan", "config.yaml", "--set", "node.workers"], "key.sub=value"),
    "no such run": (["status", "tory"], "did you mean: toy"),
    "an empty name": (["status", ""], "RUN is empty"),
    "an empty name of what is to be stopped": (["cancel", ""], "RUN is empty"),
    "no such run directory": (["status", "runs/tory"], "did you mean: toy"),
    "a file as run": (["status", "data.csv"], "RUN is a run directory"),
    "a config whose run is not planned": (["status", "other.yaml"], "is not planned yet: launcher plan other.yaml"),
    "a config that does not say where": (["status", "nameless.yaml"], "nameless.yaml:1: name: is required"),
    "a folder as run": (["status", "runs"], "not a run directory"),
    "no such shard": (["logs", "toy", "4"], "the run has shards 0-3"),
    "a shard that is no number": (["logs", "toy", "three"], "argument SHARD: must be a whole number, not 'three'"),
    "seconds that are no number": (["probe", "config.yaml", "--seconds", "x"], "must be a number, not 'x'"),
    "no such shell": (["completion", "tcsh"], "no shell 'tcsh'; valid: bash, zsh, fish"),
    "text that YAML takes for a mapping": (["plan", "config.yaml", "--set", "name={a: b}"], "has quotes of its own"),
    "bad ranges": (["rerun", "toy", "--shards", "3-1"], "goes backwards"),
    "ranges beyond the run": (["rerun", "toy", "--shards", "2-9"], "the run has shards 0-3"),
    "no tasks": (["rerun", "toy", "--tasks", "0"], "must be 1 or more"),
    "memory of a local run": (["rerun", "toy", "--mem", "64G"], "for Slurm"),
    "no such runs folder": (["list", "nowhere"], "no such folder"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_told_in_one_message_without_traceback(config: Path, arguments: list[str], message: str) -> None:
    done = in_process(config.parent, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("launcher: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_bad_input_with_json_is_a_document_too(config: Path) -> None:
    done = launcher(config.parent, "status", "tory", "--json")
    assert done.returncode == 2
    assert "did you mean" in document(done)["error"]


@pytest.mark.parametrize(
    "arguments",
    [["plan", "config.yaml"], ["status", "toy"], ["status", "toy", "--shards"], ["list"], ["logs", "toy", "0"],
     ["cancel", "toy"], ["verify", "toy"]],
    ids=" ".join,
)  # fmt: skip
def test_with_json_stdout_is_one_document(config: Path, arguments: list[str]) -> None:
    done = in_process(config.parent, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert document(done)["schema"] == 1


def test_plan_says_what_will_run_and_where(config: Path) -> None:
    done = in_process(config.parent, "plan", config.name)
    assert done.returncode == 0
    for text in (str(run_of(config).path), "100 in 4 shards of 25", "local", "1 CPU ", "launcher submit toy"):
        assert text in done.stdout
    assert "columns (1): x: int64\nid: row numbers" in done.stdout
    told = document(in_process(config.parent, "plan", config.name, "--json"))
    assert (told["columns"], told["id"]) == ([{"name": "x", "type": "int64"}], None)


def test_gather_of_an_incomplete_run_fails_and_says_what_to_do(config: Path) -> None:
    done = launcher(config.parent, "gather", "toy")
    assert done.returncode == 1
    assert "launcher rerun" in done.stderr
    assert "--allow-missing" in done.stderr


def test_status_lists_each_shard(config: Path) -> None:
    done = in_process(config.parent, "status", "toy", "--shards")
    assert done.returncode == 0
    head, *rows = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert head == ["shard", "state", "samples"]
    assert rows == [[str(number), "pending", "0/25"] for number in range(4)]


def test_a_run_is_found_by_name_by_path_and_as_the_newest(config: Path) -> None:
    documents = [
        document(in_process(config.parent, "status", *target, "--json")) for target in (["toy"], ["runs/toy"], [])
    ]
    assert {Path(found["run"]).name for found in documents} == {"toy"}
    other = write_config(config.parent / "elsewhere", name="another", runs="../runs")
    assert in_process(config.parent, "plan", other).returncode == 0
    assert Path(document(in_process(config.parent, "status", "--json"))["run"]).name == "another"
    os.utime(run_of(config).plan)
    assert Path(document(in_process(config.parent, "status", "--json"))["run"]).name == "toy"


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["logs", "0"], ["verify"], ["gather", "--allow-missing"], ["cancel"], ["list"]],
    ids=" ".join,
)
def test_a_run_is_found_by_its_config_wherever_it_lies(tmp_path: Path, arguments: list[str]) -> None:
    config = write_config(tmp_path / "here", name="far", runs="../shared/runs")
    assert in_process(config.parent, "plan", config).returncode == 0
    # Whatever has become of the config otherwise.
    config.write_text(json.dumps({**json.loads(config.read_text()), "data": {"manifest": "$NOWHERE"}, "nodes": 3}))
    command_, *more = arguments
    target = config.parent.parent / "shared/runs" if command_ == "list" else config
    done = in_process(tmp_path, command_, target, *more, "--json")
    assert str(tmp_path / "shared/runs/far") in json.dumps(document(done)), done.stderr


def test_cancel_without_a_run_is_sure_of_the_run_or_asks(tmp_path: Path) -> None:
    write_config(tmp_path)
    assert launcher(tmp_path, "plan", "config.yaml").returncode == 0
    only = launcher(tmp_path, "cancel")
    assert (only.returncode, "toy is running" in only.stdout) == (0, True)
    assert launcher(tmp_path, "plan", "config.yaml", "--set", "name=other").returncode == 0
    several = launcher(tmp_path, "cancel")
    assert several.returncode == 2
    assert "needs the name of a run" in several.stderr
    assert "other, toy" in several.stderr


@pytest.mark.parametrize(
    ("answer", "code", "said"), [("y", 0, "nothing of runs/toy is running"), ("", 1, "nothing is cancelled")]
)
def test_cancel_asks_a_person_on_a_terminal(tmp_path: Path, answer: str, code: int, said: str) -> None:
    write_config(tmp_path)
    assert launcher(tmp_path, "plan", "config.yaml").returncode == 0
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        command("cancel"), cwd=tmp_path, env=environment(), stdin=theirs, capture_output=True, text=True, check=False
    )
    os.close(ours)
    os.close(theirs)
    assert f"cancel toy ({tmp_path}/runs/toy)? [y/N]" in done.stderr
    assert (done.returncode, done.stdout.strip()) == (code, said)


def test_a_failed_run_exits_with_1_and_gives_advice(tmp_path: Path) -> None:
    config = write_config(tmp_path, params={"wait": 60})
    launcher(tmp_path, "plan", config.name)
    run = run_of(config)
    launcher(tmp_path, "submit", config.name, "--set", "retry.attempts=1")
    launcher(tmp_path, "cancel", "toy")
    number = run.submission_numbers()[-1]
    with AttemptWriter(run, number, name=f"{number:04d}-00002-ffffffff") as writer:
        writer.hold(50, 75, range_=2)
        writer.give_up(2, FailureKind.DISK, "No space left on device")
        writer.beat(end=EndReason.FAILED, kind=FailureKind.DISK, message="No space left on device")
    run.submission(number).with_suffix(".outcome").unlink()
    done = launcher(tmp_path, "status", "toy")
    assert done.returncode == 1
    assert "DISK, shard 2: No space left on device" in done.stdout
    assert "then: launcher rerun toy\n" in done.stdout  # nothing is done yet, so there are no shards to spare


def test_list_shows_every_run_even_those_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("one", "two"):
        config = write_config(tmp_path, name=name)
        assert in_process(tmp_path, "plan", config.name).returncode == 0
    plan = tmp_path / "runs" / "two" / "plan.json"
    plan.write_bytes(checked_json.encode({**checked_json.decode(plan.read_bytes()), "format": 99}))
    done = in_process(tmp_path, "list")
    assert done.returncode == 0
    assert "planned" in done.stdout
    assert "0 of 100 samples" in done.stdout
    assert "format 99" in done.stdout
    assert len(document(in_process(tmp_path, "list", "--json"))["runs"]) == 2


def test_a_reader_that_goes_away_is_no_traceback(config: Path) -> None:
    first = subprocess.Popen(
        command("status", "toy", "--shards"), cwd=config.parent, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stdout is not None
    assert first.stderr is not None
    with first:
        first.stdout.close()
        assert "Traceback" not in first.stderr.read()


def test_a_folder_that_cannot_be_written_is_told_without_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = write_config(tmp_path, runs="file")
    done = launcher(tmp_path, "plan", config.name)
    assert done.returncode in (1, 2)
    assert "file" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_logs_of_several_array_tasks_have_headings(tmp_path: Path) -> None:
    run = build_plan(tmp_path / "runs" / "toy", (0, 20))
    for worker, rows in enumerate([(0, 8), (8, 20)]):
        run.log(1, worker).write_text(f"worker {worker}\n")
        with AttemptWriter(run, 1, worker) as writer:
            writer.hold(*rows, claim=worker + 1)
            writer.beat()
    Outcome(0.0).write(run, 1)
    shown = in_process(tmp_path, "logs", "toy", "0").stdout
    first, second = (f"==> runs/toy/logs/0001-0000{worker}.log <==\nworker {worker}\n" for worker in (0, 1))
    assert shown == first + second
    run.log(1, 1).unlink()
    assert in_process(tmp_path, "logs", "toy", "0").stdout == "worker 0\n"


BOMB = ["a0: &a0 {k0: 1}"] + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], k{n}: 1}}" for n in range(1, 10)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rerun", "toy", "--shards", "9" * 5000], "is not a shard or a range"),
        (["plan", "config.yaml", "--set", 'runs="a\\0b"'], "must be a path: it has a NUL"),
        (["plan", "config.yaml", "--set", 'output.path="a\\0b.h5"'], "must be a path: it has a NUL"),
        (["plan", "config.yaml", "--set", "node.memory=999999999999999999T"], "must be a size"),
        (["plan", "config.yaml", "--set", "node.processes=100000000000"], "a number from 1 to 10000"),
        (["plan", "config.yaml", "--set", "node.workers=100000000000"], "less than or equal to 10000"),
        (["plan", "config.yaml", "--set", f"slurm.time={'9' * 5000}"], "must be a time"),
        (["plan", "bomb.yaml"], "bomb.yaml:7: not valid YAML: more than 1,000,000 values"),
    ],
    ids=["digits", "NUL in runs", "NUL in output", "size", "processes", "workers", "time", "merges"],
)
def test_what_would_take_all_memory_or_no_library_takes_is_bad_input(
    config: Path, arguments: list[str], message: str
) -> None:
    (config.parent / "bomb.yaml").write_text("\n".join(BOMB))
    done = launcher(config.parent, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
