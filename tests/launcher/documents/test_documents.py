"""Documents: what each command prints with --json is what its schema says, and each has one."""

import json
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest

from jobs.errors import InputError
from launcher.arguments import make_parser
from launcher.documents.documents import DOCUMENTS, document_schema
from tests.support.documents import check_document
from tests.support.launcher_runs import document, in_process, launcher, status, wait_until, write_config
from tests.support.launcher_runs import run_of as run_of_config

# Of a run that is complete, with a failed sample.
COMMANDS = [
    "plan config.yaml",
    "run config.yaml",
    "rerun toy",
    "status",
    "status toy toy",
    "status toy --shards",
    "top toy",
    "list --size",
    "errors toy",
    "logs toy 0",
    "logs toy --sample 3",
    "events toy",
    "metrics toy",
    "report toy",
    "gather toy",
    "verify toy",
    "export toy table --format parquet",
    "cancel toy",
    "extend toy",
    "try config.yaml --samples 1",
    "clean toy --dry-run",
    "doctor config.yaml",
    "jobs",
    "jobs command",
    "init command other.yaml",
    "schema --document status",
    "completion bash",
    "man status",
    "man --output pages",
    "plan config.yaml --sweep node.batch_size=2,4",
    "list",
    "status toy-2",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands are typed, with a sweep. ``submit`` is tried here."""
    folder = tmp_path_factory.mktemp("documents")
    bad: dict[str, Any] = {"params": {"bad": {"3": "raise"}}, "node": {"workers": 0, "max_failed_samples": 1}}
    config = write_config(folder, 8, shards=1, **bad)
    document(in_process(folder, "plan", config.name, "--sweep", "node.batch_size=2,4", "--json"))
    document(launcher(folder, "submit", config.name, "--json"))
    wait_until(lambda: status(folder, run_of_config(config))["state"] != "running")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_prints_what_its_schema_says(folder: Path, command: str) -> None:
    done = in_process(folder, *command.split(), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "error" not in document(done)


def test_a_command_that_refuses_prints_what_its_schema_says(tmp_path: Path) -> None:
    for command in DOCUMENTS.keys() - {"completion", "list", "jobs", "metrics"}:
        done = in_process(tmp_path, command, "no-such", "--json")
        assert done.returncode == 2, command
        assert document(done)["error"]


def test_every_command_has_a_document_and_a_test_of_it() -> None:
    _, commands = make_parser()
    assert DOCUMENTS.keys() == commands.keys()
    elsewhere = {"submit", "probe"}  # here in the fixture; tests/launcher/test_probe.py
    assert {command.partition(" ")[0] for command in COMMANDS} | elsewhere == DOCUMENTS.keys()


@pytest.mark.parametrize(
    "wrong", [{"schema": 2, "run": "r", "cancelled": []}, {"schema": 1, "run": "r"}, {"run": "r", "cancelled": []}, {}]
)
def test_what_is_no_such_document_is_told(wrong: dict[str, object]) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaException):
        check_document("cancel", wrong)


def test_a_schema_lets_new_fields_come_and_has_their_meaning() -> None:
    schema = document_schema("verify")
    assert schema["$defs"]["VerifyDocument"]["properties"]["rows_by_code"]["description"].startswith("rows by the")
    fastjsonschema.compile(document_schema("cancel"))({"schema": 1, "run": "r", "cancelled": [1], "new": True})


def test_an_unknown_command_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no command 'stat'; did you mean status"):
        document_schema("stat")
    done = in_process(tmp_path, "schema", "--document", "status", "--output", "status.schema.json")
    assert done.returncode == 0
    assert json.loads((tmp_path / "status.schema.json").read_text()) == document_schema("status")
