"""The JSON Schema of config.yaml: it takes what the launcher takes, and init writes one beside each config."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from pydantic import BaseModel

from jobs.errors import InputError
from launcher.catalogue.catalogue import built_in, find
from launcher.catalogue.config_schema import config_schema
from launcher.cli import main
from launcher.config.config import Config, load_config
from launcher.config.problems import sections
from launcher.config.yaml_lines import parse_document
from tests.support.launcher_runs import ROOT

SMALL = "name: small\njob: {class: my_jobs:Mine}\ndata: {manifest: table.csv}\n"
Check = Callable[[Any], Any]
MODELS: dict[str, type[BaseModel]] = {"": Config, **sections(Config)}


@pytest.fixture(scope="module")
def check() -> Check:
    return fastjsonschema.compile(config_schema(), use_default=False)


VALID = [
    "", "node:\n", "slurm: {finalize: }", "slurm: {finalize: none}", "slurm: {finalize: {mem: 2G, time: 10, qos: null}}",
    "node: {processes: auto, devices: [cuda:0, cpu], memory: 64G, batch_size: 8}", "node: {memory: 64000, devices: cuda:1}",
    "node: {max_failed_samples: 3}", "node: {max_failed_samples: 0.5}", "executor: slurm", "local: {parallelism: 3}",
    "slurm: {account: 0012, mem-per-cpu: 2G, exclusive: true, time: 90, exclude: [a, b], gpus_per_task: a100:2}",
    "retry: {max_time: 1-00:00:00, stall: 30, max_memory: null}", "output: {compression: gzip, max_file_size: 1G}",
    "after: [a, b]", "after: a", "notify: [mail, me]", "notify: https://example.org", "sweep: toy", "folder: null",
    "slurm: {template: venv, cpus-per-task: 4}", "executor: null", "node: {workers: null, devices: null}", "after: null",
    "retry: {attempts: null}", "data: {manifest: a.csv, order: null}", "runs: null",
    "output: {gather: null, compression: null}",
]  # fmt: skip
WRONG = [
    "node: {worker: 2}", "node: {workers: -1}", "node: {devices: gpu}", "node: {sample_timeout: soon}", "nod: {}", "runs: 3",
    "executor: slrum", "slurm: {partion: x}", "slurm: {array: 1-3}", "slurm: {contiguous: 3}", "slurm: {requeue: yes}",
    "output: {gather: yes}", "output: {compression: zip}", "retry: {attempts: 0}", "name: a/b", "local: 5",
    "data: {manifest: 3}", "data: {}", "job: {}", "after: 3",
]  # fmt: skip


@pytest.mark.parametrize("text", VALID)
def test_what_the_launcher_takes_the_schema_takes(check: Check, tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(f"{SMALL.partition('data: ')[0] if text.startswith('data: ') else SMALL}{text}\n")
    load_config(tmp_path / "c.yaml")
    check(parse_document((tmp_path / "c.yaml").read_text(), "c.yaml").data)


@pytest.mark.parametrize("text", WRONG)
def test_what_the_launcher_refuses_the_schema_refuses(check: Check, tmp_path: Path, text: str) -> None:
    data = {**parse_document(SMALL, "c.yaml").data, **parse_document(text, "c.yaml").data}
    (tmp_path / "c.yaml").write_text(json.dumps(data))
    with pytest.raises(InputError):
        load_config(tmp_path / "c.yaml")
    with pytest.raises(fastjsonschema.JsonSchemaException):
        check(data)


def test_an_included_config_may_say_what_has_to_be_said(check: Check) -> None:
    check({"include": "base.yaml", "job": {"params": {"a": 1}}, "data": {"shards": 3}})


@pytest.mark.parametrize(
    "manifest", ['"a.csv"', '["a.csv", "b.csv"]', '{"a": "a.csv"}', '{"run": "x", "outputs": ["y"]}']
)
def test_the_samples_may_be_of_each_kind(check: Check, manifest: str) -> None:
    check({**parse_document(SMALL, "c.yaml").data, "data": {"manifest": json.loads(manifest)}})


def test_every_key_has_its_description_and_nothing_else_is_in_it() -> None:
    schema = config_schema()
    for name, model in MODELS.items():
        section = schema["$defs"][model.__name__] if name else schema
        for field_name, field in model.model_fields.items():
            key = field.alias or field_name
            if key not in (*sections(Config), "options"):
                assert section["properties"][key]["description"] == field.description
    assert "options" not in schema["$defs"]["SlurmSection"]["properties"]
    assert "title" not in json.dumps(schema["$defs"])


def test_the_page_of_keys_says_what_the_descriptions_say() -> None:
    page = (ROOT / "docs" / "config.md").read_text().partition("\n## ")[0]
    cells = [re.split(r" \|(?: \||) ", line.strip("| ")) for line in page.splitlines() if line.startswith("| `")]
    told = {cell[0].strip("`"): cell[-1] for cell in cells}
    for name, model in MODELS.items():
        for field_name, field in model.model_fields.items():
            key = ".".join(filter(None, [name, field.alias or field_name]))
            if key in told:
                links = r"; \[[\w-]+\.md\]\([\w-]+\.md\)(, \[[\w-]+\.md\]\([\w-]+\.md\))*$"
                words = re.sub(links, "", told[key])
                assert words.replace("`", "") == (field.description or "").replace("`", ""), key


@pytest.mark.parametrize("entry", built_in(), ids=lambda entry: entry.path)
def test_init_writes_a_config_that_its_schema_takes(
    entry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    needed = [f"--set=job.params.{one.name}={_example(one.name)}" for one in entry.parameters if one.required]
    assert main(["init", entry.path, "mine.yaml", *needed]) == 0
    assert capsys.readouterr().out.startswith("written: mine.yaml, and mine.schema.json for editors\n")
    text = Path("mine.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=mine.schema.json\n")
    own = json.loads(Path("mine.schema.json").read_text())
    data = parse_document(text, "mine.yaml").data
    check = fastjsonschema.compile(own, use_default=False)
    check(data)
    with pytest.raises(fastjsonschema.JsonSchemaException, match="params"):
        check({**data, "job": {**data["job"], "params": {"no_such": 1}}})
    with pytest.raises(fastjsonschema.JsonSchemaException, match="class"):
        check({**data, "job": {**data["job"], "class": "other:Job"}})


def _example(name: str) -> str:
    return "[1.0, 1.0, 1.0]" if name in ("mean", "std") else "['true']" if name == "command" else "x"


def test_the_command_prints_or_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == config_schema()
    job = "tests.example_jobs.typed_jobs:Typed"
    assert main(["schema", "--job", job, "--output", "x.json", "--json"]) == 0
    written = json.loads(Path("x.json").read_text())
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "json_schema": written}
    assert written == json.loads(json.dumps(config_schema(find(job, Path()))))
    assert main(["schema", "--job", "nobody"]) == 2
    assert "no Job 'nobody'" in capsys.readouterr().err
