"""The Jobs that there are, and the commented configs that init writes for them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InputError
from jobs.parameters import UNKNOWN
from jobs.storage.plans import Plan
from launcher.catalogue.blank import render
from launcher.catalogue.catalogue import Entry, built_in, find
from launcher.config.config import Config, load_config
from launcher.config.problems import sections
from launcher.config.yaml_lines import parse_document
from launcher.plan.plan import make_plan
from tests.launcher.test_imports import loaded
from tests.support.launcher_runs import document, in_process, launcher

BUILT_IN = built_in()
TYPED = "tests.example_jobs.typed_jobs:Typed"
REQUIRED: dict[str, dict[str, Any]] = {
    "jobs.text_embedding:TextEmbedding": {"model": "sentence-transformers/all-MiniLM-L6-v2"},
    "jobs.text_generation:TextGeneration": {
        "model": "m",
        "base_url": "http://host:8000/v1",
        "prompt": "Tell me a story",
    },
    "jobs.audio_embedding:AudioEmbedding": {"model": "model.pt"},
    "jobs.image_embedding:ImageEmbedding": {"model": "model.pt"},
    "jobs.download:Download": {"folder": "files"},
    "jobs.command:Command": {"command": ["cp", "{path}", "{name}"]},
    "jobs.function:Function": {"function": "math:sqrt"},
    "jobs.function:AsyncFunction": {"function": "asyncio:sleep"},
}
"""What a user has to give of each Job; it only has to look right."""

per_job = pytest.mark.parametrize("entry", BUILT_IN, ids=lambda entry: entry.path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samples.csv").write_text("id,text,path,spk_id,url,name\n1,one,a.wav,x,http://localhost/a,a\n")
    (tmp_path / "model.pt").touch()
    return tmp_path


def required(entry: Entry) -> list[str]:
    """The --set options of what the Job needs."""
    given = REQUIRED.get(entry.path, {})
    assert {parameter.name for parameter in entry.parameters if parameter.required} <= given.keys()
    return [f"job.params.{name}={json.dumps(value)}" for name, value in given.items()]


def test_the_built_in_jobs_are_all_modules_that_define_one() -> None:
    files = Path(str(find("text_embedding", Path()).cls.__module__).replace(".", "/")).parent.glob("*.py")
    defining = {path.stem for path in files if re.search(r"^class (?!Job\b)\w+\(Job\)", path.read_text(), re.MULTILINE)}
    assert {entry.path.partition(":")[0].removeprefix("jobs.") for entry in BUILT_IN} == defining
    assert "text_embedding" in defining


def test_listing_the_jobs_imports_no_torch() -> None:
    assert loaded("jobs") & {"torch", "pandas", "h5py", "transformers"} == set()


@per_job
def test_every_parameter_of_a_built_in_job_has_a_type_and_words(entry: Entry) -> None:
    told = {parameter.name: parameter.words for parameter in entry.parameters}
    assert [parameter.name for parameter in entry.parameters if parameter.kind is UNKNOWN] == []
    assert [name for name, words in told.items() if not words] == []


@pytest.mark.parametrize(
    "name", ["text_embedding", "TextEmbedding", "textembedding", "jobs.text_embedding:TextEmbedding"]
)
def test_a_built_in_job_is_found_by_module_and_class(name: str) -> None:
    assert find(name, Path()).path == "jobs.text_embedding:TextEmbedding"


def test_a_module_of_two_jobs_means_the_plain_one() -> None:
    assert find("function", Path()).path == "jobs.function:Function"


def test_an_unknown_job_names_the_nearest_and_all() -> None:
    with pytest.raises(InputError, match=r"did you mean jobs.text_embedding:TextEmbedding\? Built in: jobs"):
        find("text-embeding", Path())


def test_a_job_of_the_users_own_is_found_in_the_folder(folder: Path) -> None:
    (folder / "own_listed_job.py").write_text(
        '"""Mine: does it."""\nfrom jobs.job import Job\nclass Mine(Job):\n    def __init__(self, size: int): ...\n'
    )
    done = launcher(folder, "jobs", "own_listed_job:Mine", "--json")
    assert done.returncode == 0, done.stderr
    found = document(done)
    assert (found["job"], found["summary"]) == ("own_listed_job:Mine", "Mine: does it.")
    assert found["parameters"] == [{"name": "size", "type": "int", "required": True, "description": ""}]


def test_jobs_lists_names_types_defaults_and_words(folder: Path) -> None:
    shown = in_process(folder, "jobs").stdout
    assert "max_tokens (int | None, default 256): tokens at which a text is cut" in shown
    assert "model (str, required): a name on the Hugging Face hub" in shown
    listed = document(in_process(folder, "jobs", "--json"))["jobs"]
    assert [found["job"] for found in listed] == [entry.path for entry in BUILT_IN]
    (text,) = [found for found in listed if found["job"].endswith("TextEmbedding")]
    assert text["parameters"][2] == {
        "name": "max_tokens", "type": "int | None", "required": False, "default": 256,
        "description": "tokens at which a text is cut, or how long windows are; null: as the model's files say",
    }  # fmt: skip


def test_types_are_told_as_they_are_written() -> None:
    types = {parameter.name: parameter.type_text for parameter in find(TYPED, Path()).parameters}
    assert types["small"] == "int with ge=1, le=9"
    assert types["folder"] == "Path | None"
    assert types["mode"] == "Literal['fast', 'slow']"
    assert types["plain"] == ""


@per_job
def test_a_config_that_init_writes_loads_and_plans(folder: Path, entry: Entry) -> None:
    overrides = [word for option in required(entry) for word in ("--set", option)]
    done = in_process(folder, "init", entry.path, *overrides)
    assert done.returncode == 0, done.stderr
    config = load_config(folder / "config.yaml")
    assert config.job.class_ == entry.path
    planned = in_process(folder, "plan", "config.yaml", "--set", "executor=local")
    assert planned.returncode == 0, planned.stderr
    assert Plan.read(config.run_folder / "plan.json").rows == 1


@per_job
def test_what_init_leaves_open_is_named_by_plan_with_its_line(folder: Path, entry: Entry) -> None:
    (folder / "config.yaml").write_text(render(entry, folder / "config.yaml"))
    missing = [parameter.name for parameter in entry.parameters if parameter.required]
    if not missing:
        return
    with pytest.raises(InputError) as caught:
        make_plan(load_config(Path("config.yaml")))
    lines = str(caught.value).splitlines()
    assert [re.sub(r"\d+", "N", line).partition(": is required")[0] for line in lines] == [
        f"config.yaml:N: job.params.{name}" for name in missing
    ]


def test_every_key_is_written_with_its_default_and_its_meaning(folder: Path) -> None:
    text = render(find("text_embedding", Path()), folder / "config.yaml")
    data = parse_document(text, "config.yaml").data
    for name, section in sections(Config).items():
        for key, field in section.model_fields.items():
            if name == "job" or key == "options":
                continue
            assert data[name][key] == (field.default if key != "manifest" else "samples.csv"), f"{name}.{key}"
            assert re.search(rf"^  {key}: .*# {re.escape(field.description or '-')}$", text, re.MULTILINE), (
                f"{name}.{key}"
            )
    texts = {"text": "text", "prompt": "", "max_tokens": 256, "overlap": None, "pooling": "mean"}
    assert data["job"]["params"] == {**texts, "normalize": True, "dtype": "float32"}


def test_what_is_set_is_written(folder: Path) -> None:
    overrides = [
        "node.devices=[cuda:0, cpu]",
        "slurm.mem=8G",
        "name=mine",
        "job.params.names=[a, 'yes']",
        "job.params.count=3",
    ]
    (folder / "config.yaml").write_text(render(find(TYPED, Path()), folder / "config.yaml", overrides))
    config = load_config(folder / "config.yaml")
    assert (config.name, config.node.devices, config.slurm.options) == ("mine", ("cuda:0", "cpu"), {"mem": "8G"})
    assert config.job.params["names"] == ["a", "yes"]
    assert make_plan(config).plan.rows == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("node.wokers=2", "--set node.wokers=2: unknown key. Did you mean node.workers?"),
        ("job.params.cuont=2", "job.params.cuont: unknown parameter. Did you mean count?"),
        ("job.class=a:B", "job.class: the Job is tests.example_jobs.typed_jobs:Typed; give another one as JOB"),
        ("job.params.count=two", "job.params.count: must be a whole number"),
    ],
)
def test_init_refuses_what_plan_would_refuse(folder: Path, override: str, message: str) -> None:
    done = in_process(folder, "init", TYPED, "--set", override)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (folder / "config.yaml").exists()


def test_init_never_overwrites(folder: Path) -> None:
    (folder / "config.yaml").write_text("mine")
    done = in_process(folder, "init", "text_embedding")
    assert done.returncode == 2
    assert "config.yaml: exists" in done.stderr
    assert (folder / "config.yaml").read_text() == "mine"
    told = in_process(folder, "init", "text_embedding", "other.yaml")
    assert told.stdout.endswith(
        "next: launcher try other.yaml, then launcher plan other.yaml and launcher run other.yaml\n"
    )
    assert "fill in: job.params.model, data.manifest\n" in told.stdout
    given = ["--set", "data.manifest=a.csv", "--set", "job.params.model=m"]
    assert "fill in" not in in_process(folder, "init", "text_embedding", "given.yaml", *given).stdout
    names = {"other.yaml": "other", "config.yaml": "text-embedding", "my embedding.yaml": "text-embedding"}
    spaced = in_process(folder, "init", "text_embedding", "a b.yaml").stdout
    assert "next: launcher try 'a b.yaml', then" in spaced
    for name, run in names.items():
        assert parse_document(render(find("text_embedding", Path()), Path(name)), name).data["name"] == run
    done = in_process(folder, "init", "text_embedding", "nowhere/other.yaml")
    assert (done.returncode, "there is no folder nowhere" in done.stderr) == (2, True)


def test_what_a_profile_sets_is_a_comment_in_a_new_config(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = folder / "lab.yaml"
    profile.write_text(
        "runs: /scratch/runs\nslurm:\n  template: gpu\n  account: lab\n  qos: high\n  finalize: {mem: 8G, qos: io}\n"
    )
    monkeypatch.setenv("LAUNCHER_PROFILE", str(profile))
    text = render(find(TYPED, Path()), folder / "config.yaml", ["slurm.qos=low"])
    for key in ("runs: /scratch/runs", "  template: gpu", "  account: lab"):
        indent = " " * (len(key) - len(key.lstrip()))
        assert re.search(rf"^{indent}# {key.strip()} +# as {profile}:\d says$", text, re.MULTILINE), key
    assert '\n  # finalize: {"mem": "8G", "qos": "io"}' in text
    (folder / "config.yaml").write_text(text)
    config = load_config(folder / "config.yaml")
    assert (str(config.run_folder), config.slurm.template) == ("/scratch/runs/typed", "gpu")
    assert config.slurm.options == {"qos": "low", "account": "lab"}
