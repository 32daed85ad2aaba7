"""Includes: what a config says over those that it includes, whose lines messages name, and where paths start."""

from pathlib import Path

import pytest

from jobs.errors import InputError
from launcher.config.config import Config, load_config
from launcher.config.place import run_folder_of
from launcher.config.yaml_lines import parse_document

OWN = "include: base.yaml\nname: own\njob: {params: {model: b}}\n"
BASE = """\
name: base
runs: all
job:
  class: my_jobs:Mine
  params: {model: a, sizes: {x: 1}}
data: {manifest: [a.csv, b.csv], shards: 3}
slurm: {mem-per-cpu: 2G, partition: long, finalize: {mem: 1G}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, so that messages name the files alone."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE)
    return tmp_path


def load(text: str = OWN, *overrides: str) -> Config:
    Path("config.yaml").write_text(text)
    return load_config(Path("config.yaml"), overrides)


def problem(text: str = OWN, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load(text, *overrides)
    return str(caught.value)


def test_an_included_config_holds_where_the_config_is_silent(folder: Path) -> None:
    config = load()
    assert (config.name, config.run_folder) == ("own", folder / "all" / "own")
    assert config.job.params == {"model": "b", "sizes": {"x": 1}}
    assert config.data.sources == ("a.csv", "b.csv")
    assert config.own_options == {"mem-per-cpu": "2G", "partition": "long"}
    assert config.to_mapping()["include"] == []
    assert run_folder_of(Path("config.yaml")) == config.run_folder


def test_lists_and_mappings_of_users_are_taken_as_a_whole(folder: Path) -> None:
    config = load(OWN + "data: {manifest: {train: c.csv}}\n", "job.params.sizes.y=2")
    assert config.data.manifests == {"train": ("c.csv",)}
    assert config.data.shards == 3
    assert config.job.params["sizes"] == {"x": 1, "y": 2}  # --set changes what both together say
    assert load(OWN.replace("{model: b}", "{sizes: {}}")).job.params == {"model": "a", "sizes": {}}


def test_null_is_the_default_whatever_an_included_config_or_a_profile_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("base.yaml").write_text(BASE + "node: {workers: 7, sync_interval: 3}\n")
    Path("profile.yaml").write_text("node: {workers: 5, sample_timeout: 9}\n")
    monkeypatch.setenv("LAUNCHER_PROFILE", str(folder / "profile.yaml"))
    node = load(OWN + "node: {workers: null}\n").node
    assert (node.workers, node.sync_interval, node.sample_timeout) == (2, 3, 9)


def test_of_ways_to_say_the_same_the_nearest_counts(folder: Path) -> None:
    config = load(OWN + "slurm: {mem: 4G, finalize: none}\ndata: {samples_per_shard: 10}\n")
    assert config.slurm.options == {"mem": "4G", "partition": "long"}
    assert config.slurm.is_attended
    assert (config.data.shards, config.data.samples_per_shard) == (None, 10)
    assert load(OWN + "slurm: {mem_per_cpu: 4G, partition: null}\n").slurm.options == {"mem-per-cpu": "4G"}


def test_of_several_the_later_counts_and_what_one_includes_is_below_it(folder: Path) -> None:
    Path("middle.yaml").write_text("include: [base.yaml]\ndata: {shards: 5}\n")
    Path("other.yaml").write_text("data: {shards: 7}\nretry: {attempts: 9}\n")
    text = OWN.replace("base.yaml", "[FILES]")
    for names, shards in (("other.yaml, middle.yaml", 5), ("middle.yaml, other.yaml", 7)):
        config = load(text.replace("FILES", names))
        assert (config.data.shards, config.retry.attempts, config.job.class_) == (shards, 9, "my_jobs:Mine")


def test_a_mistake_has_the_file_and_line_that_it_is_in(folder: Path) -> None:
    Path("base.yaml").write_text(BASE + "node: {worker: 2, batch_size: 0}\n")
    found = problem(OWN + "retry: {attempts: 0}\n").splitlines()
    assert [line.split(": ")[:2] for line in found] == [
        ["base.yaml:8", "node.batch_size"],
        ["base.yaml:8", "node.worker"],
        ["config.yaml:4", "retry.attempts"],
    ]
    assert problem(OWN, "node.batch_size=1").startswith("base.yaml:8: node.worker: ")
    Path("base.yaml").write_text("a: [\n")
    assert problem().startswith("base.yaml:2: not valid YAML")


def test_where_a_key_was_written_is_known(folder: Path) -> None:
    origins = load(OWN, "retry.attempts=5").origins
    places = {("data", "shards"): "base.yaml:6", ("job", "params", "model"): "config.yaml:3", ("retry", "stall"): None}
    assert {path: origins.where(path) for path in places} == places
    assert origins.where(("slurm", "mem_per_cpu")) == "base.yaml:7"
    assert origins.where(("retry", "attempts")) == "--set retry.attempts=5"


def test_params_of_an_older_yaml_are_told_where_they_count(folder: Path) -> None:
    Path("base.yaml").write_text(BASE.replace("model: a", "model: yes").replace("{x: 1}", "007"))
    (told,) = load().deprecations()
    assert told.startswith("base.yaml:5: job.params.sizes: 007 is a number")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("include: none.yaml", "config.yaml:1: include: no such file: none.yaml"),
        ("include: 3", "config.yaml:1: include: must be the path of a config, or a list of these, not 3"),
        ("include: [base.yaml, '']", "config.yaml:1: include: must be the path of a config"),
        ("include: $NO_SUCH_VARIABLE/x", "config.yaml:1: include: the variable NO_SUCH_VARIABLE"),
        ("include: config.yaml", "config.yaml:1: include: a circle: config.yaml includes config.yaml"),
        (
            "include:\n- base.yaml\n- circle.yaml",
            "circle.yaml:1: include: a circle: config.yaml includes circle.yaml",
        ),
        ("include: placed.yaml", "placed.yaml:1: folder: cannot stand in an included config"),
    ],
)
def test_what_cannot_be_included_is_refused_with_its_line(folder: Path, text: str, message: str) -> None:
    Path("circle.yaml").write_text("include: config.yaml\n")
    Path("placed.yaml").write_text("folder: /tmp\n")
    assert problem(text + "\n").startswith(message)


def test_it_is_for_a_file_to_say(folder: Path) -> None:
    assert problem(OWN, "include=other.yaml").startswith("--set include=other.yaml: is for the file of a config to say")


def test_paths_of_an_included_config_start_in_its_own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE", str(folder / "site"))
    Path("site").mkdir()
    Path("site/x.sbatch").touch()
    Path("site/base.yaml").write_text(
        "runs: $SITE/runs\njob: {class: a:B, import_from: [lib, /opt/lib]}\nslurm: {template: ./x.sbatch}\n"
        "data: {manifest: {one: 'img/**/*.png', two: ['s3://b/t.parquet', ~/c.csv]}}\nafter: [first, ../x/second.yaml]\n"
        "output: {path: 'out-{manifest}.h5'}\n"
    )
    text = "include: $SITE/base.yaml\nname: own\n"
    config = load(text)
    assert config.run_folder == folder / "site" / "runs" / "own"
    assert config.job.import_from == ("site/lib", "/opt/lib")
    assert config.template_path == folder / "site" / "x.sbatch"
    assert config.data.sources[:2] == ("site/img/**/*.png", "s3://b/t.parquet")
    assert config.after == ("first", "site/../x/second.yaml")
    assert config.output_path == folder / "site" / "out-{manifest}.h5"
    own = load(text + "folder: /data\n")
    assert own.data.sources[0] == f"{folder}/site/img/**/*.png"
    assert own.template_path == folder / "site" / "x.sbatch"
    samples = "data: {manifest: {run: first, outputs: [y]}}\n"
    Path("site/base.yaml").write_text(f"job: {{class: a:B}}\n{samples}")
    assert load(text).to_mapping()["data"]["manifest"]["run"] == "first"
    assert parse_document(samples, "x").data["data"]["manifest"]["run"] == "first"
