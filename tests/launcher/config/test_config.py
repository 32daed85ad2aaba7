"""Config: defaults, checks with file and line, overrides, paths, and what differs between two configs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from jobs.errors import InputError
from launcher.config.config import Config, config_from_mapping, load_config
from launcher.config.differences import differences
from launcher.config.problems import sections
from launcher.config.sbatch_options import COMPUTED, OPTIONS, check_option, gpus_asked
from launcher.config.yaml_lines import parse_document, parse_value, value_text

SMALL = """\
name: small
job: {class: my_jobs:Mine}
data: {manifest: table.csv}
"""

FULL = """\
name: stdlib-docstrings
runs: runs
job:
  class: jobs.text_embedding:TextEmbedding
  params: {model: sentence-transformers/all-MiniLM-L6-v2, max_tokens: 64}
data:
  manifest: data/docstrings.csv
  id: id
  cost: null
  shards: 64
node:
  processes: 1
  workers: 2
  devices: auto
  batch_size: 64
  sample_timeout: 600
  max_failed_samples: 0.01
  sync_interval: 10
executor: auto
local: {parallelism: auto}
slurm:
  template: cpu
  partition: null
  array_parallelism: 256
retry: {attempts: 3, memory_factor: 1.5, max_memory: null, time_factor: 1.5, max_time: null,
        exclude_failed_nodes: true}
output: {path: null}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, so that messages name the file alone."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str, *overrides: str) -> Config:
    Path("config.yaml").write_text(text)
    return load_config(Path("config.yaml"), overrides)


def problems(text: str, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load(text, *overrides)
    return str(caught.value).split("\n")


def test_the_documented_config_holds_the_defaults(folder: Path) -> None:
    small = load(SMALL).to_mapping()
    full = load(FULL).to_mapping()
    assert differences(small, full) == [
        "name: small -> stdlib-docstrings",
        "job.class: my_jobs:Mine -> jobs.text_embedding:TextEmbedding",
        "data.manifest: table.csv -> data/docstrings.csv",
        "data.id: null -> id",
        "data.shards: null -> 64",
        "node.processes: null -> 1",
        "job.params.model: null -> sentence-transformers/all-MiniLM-L6-v2",
        "job.params.max_tokens: null -> 64",
    ]


def test_a_mapping_is_plain_data_that_reads_back_as_the_same_config(folder: Path) -> None:
    config = load(FULL, "slurm.mem=64G", "slurm.exclude=[n1, n2]", "node.devices=[cuda:0, cpu]", "node.memory=16G")
    mapping = json.loads(json.dumps(config.to_mapping()))
    again = config_from_mapping(mapping, config.path)
    assert again == config
    assert again.to_mapping() == mapping


def test_models_are_frozen(folder: Path) -> None:
    config = load(SMALL)
    with pytest.raises(ValueError, match="frozen"):
        config.node.workers = 3


def test_an_unknown_key_names_file_line_nearest_and_valid_keys(folder: Path) -> None:
    assert problems(SMALL + "node:\n  worker: 2\n") == [
        "config.yaml:5: node.worker: unknown key. Did you mean node.workers? Valid keys: processes, workers, "
        "devices, batch_size, sample_timeout, max_failed_samples, sync_interval, memory, scratch, poison_batches, "
        "in_flight, max_same_failure, gpus_per_process"
    ]


@pytest.mark.parametrize(
    ("line", "guess"),
    [
        ("batch_size: 3", "node.batch_size"),
        ("wrokers: 3", "node.workers"),
        ("nod: {}", "node"),
        ("mem: 3G", "slurm.mem"),
        ("slurm: {partion: x}", "slurm.partition"),
        ("slurm: {templat: x}", "slurm.template"),
        ("retry: {max-memory: 3G}", "retry.max_memory"),
    ],
)
def test_an_unknown_key_is_looked_for_in_all_sections(folder: Path, line: str, guess: str) -> None:
    (problem,) = problems(SMALL + line)
    assert problem.startswith("config.yaml:4: ")
    assert f"Did you mean {guess}" in problem


def test_all_mistakes_are_reported_together_in_the_order_of_the_file_and_then_what_is_missing(folder: Path) -> None:
    text = """\
runs: 3
job:
  params: {max-tokens: 3}
data:
  manifest: []
  shards: 0
  samples_per_shard: 10
node:
  worker: 2
  devices: gpu
slurm:
  output: x
"""
    found = problems(text)
    assert [problem.split(": ")[:2] for problem in found] == [
        ["config.yaml:1", "runs"],
        ["config.yaml:3", "job.params.max-tokens"],
        ["config.yaml:5", "data.manifest"],
        ["config.yaml:6", "data.shards"],
        ["config.yaml:7", "data.samples_per_shard"],
        ["config.yaml:9", "node.worker"],
        ["config.yaml:10", "node.devices"],
        ["config.yaml:12", "slurm.output"],
        ["config.yaml:1", "name"],
        ["config.yaml:2", "job.class"],
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("name=a/b", "must be a folder name"),
        ("name=..", "must be a folder name"),
        ("name=3", "must be text, not 3: write it in quotes"),
        (
            "output.path=https://server/result.h5",
            "results are not written to https://; valid: a path, or a URL of s3, ",
        ),
        ("node.in_flight=99999999999999999999", "must be less than or equal to 1000000000000"),
        ("retry.memory_factor=1e300", "must be less than or equal to 1000"),
        ("output.path=memory:///result.h5", "results are not written to memory://"),
        ("output.path=s3://bucket/", "must name an object, such as s3://bucket/folder/result.h5"),
        ("output.path=s3://bucket/a.h5?signature=secret", "not 's3://bucket/a.h5' with what follows it"),
        ("output.path=gs://bucket/a/../b.h5", "must name an object, such as gs://bucket/folder/result.h5"),
        ("runs=gs://bucket/runs", "must be a path, not a URL"),
        ("job.class=nocolon", "must be module:Class"),
        ("job.params=[1]", "must be a mapping"),
        ("data.manifest=3", "must be the path of a table"),
        ("data.manifest=[a.csv, 3]", "must be the path of a table"),
        ("data.id=3", "must be text, not 3"),
        ('data.cost=""', "must not be empty"),
        ("data.shards=1.5", "must be a whole number, not 1.5"),
        ("data.shards=true", "must be a whole number, not true"),
        ("data.shards=0", "must be greater than or equal to 1, not 0"),
        ("node.processes=0", "must be a number from 1 to 10000, null (one per device) or auto"),
        ("node.workers=-1", "must be greater than or equal to 0"),
        ("node.workers=two", 'must be a whole number, not "two"'),
        ("node.devices=[]", "must be auto, cpu, cuda, or a list such as"),
        ("node.devices=[cuda]", "must be auto, cpu, cuda, or a list such as"),
        ("node.devices=tpu", "must be auto, cpu, cuda, or a list such as"),
        ("node.batch_size=0", "must be greater than or equal to 1"),
        ("node.sample_timeout=0", "must be greater than 0"),
        ("node.sample_timeout=.inf", "must be a finite number"),
        ("node.max_failed_samples=1.5", "must be a share from 0.0 to 1.0 or a number of samples"),
        ("node.max_failed_samples=-1", "must be a share from 0.0 to 1.0 or a number of samples"),
        ("node.max_failed_samples=true", "must be a share from 0.0 to 1.0 or a number of samples"),
        ("node.sync_interval=-1", "must be greater than 0"),
        ("node.memory=lots", "must be a size such as 64G"),
        ("executor=slrum", "must be 'auto', 'slurm' or 'local'"),
        ("local.parallelism=0", "must be auto or a number from 1"),
        ("local=5", "must be a mapping"),
        ("slurm=5", "must be a mapping"),
        ("slurm.array_parallelism=0", "must be greater than or equal to 1"),
        ("slurm.tasks=0", "must be greater than or equal to 1"),
        ("slurm.gpus_per_task=a:b", "must be a number from 0"),
        ("slurm.mem=64Q", "must be a size such as 64G"),
        ("slurm.time=4 hours", "must be a time such as 4:00:00"),
        ("slurm.time=0", "must be a time such as 4:00:00"),
        ("slurm.contiguous=3", "takes no value: true or false"),
        ("slurm.account=true", "needs a value: sbatch --account=VALUE"),
        ("slurm.requeue=yes", 'must be true or false, not "yes": yes is text, as YAML 1.2 has it'),
        ("slurm.exclusive=yes", "must be true or false, or a value of sbatch's, not 'yes', which is text"),
        ("output.gather=Off", 'must be true or false, not "Off": Off is text'),
        ('slurm.comment="a\\nb"', "must be one line of text"),
        ("slurm.exclude={a: b}", "must be one line of text"),
        ("slurm.options={}", "unknown key"),
        ("node.scratch=tmp", "must be a folder of the node: /path, ~/path, or one that begins with $NAME"),
        ("node.scratch=/tmp/$", "which are put in there"),
        ("slurm.warning=15", "15 s are too few for a task that may take 20 s to leave (slurm.grace)"),
        ("node={gpus_per_process: 2, devices: cpu}", "node.devices is cpu: that must be auto or cuda"),
        ("node={gpus_per_process: 2, devices: [cuda:0]}", "node.devices is [cuda:0]: that must be auto or cuda"),
        ("slurm.warning=5", "must be greater than or equal to 10"),
        ("slurm.grace=1", "must be greater than or equal to 5"),
        ("slurm.requeue=no thanks", "must be true or false"),
        ("slurm.no_requeue=true", "set slurm.requeue: false"),
        ("slurm.finalize.requeue=true", "for array tasks there is slurm.requeue"),
        ("slurm.template=site/no.sbatch", "no such file: "),
        ("retry.attempts=0", "must be greater than or equal to 1"),
        ("retry.memory_factor=0.5", "must be greater than or equal to 1"),
        ("retry.max_memory=all", "must be a size such as 64G"),
        ("retry.max_time=long", "must be a time such as 4:00:00"),
        ("retry.exclude_failed_nodes=3", "must be true or false, not 3"),
        ('output.path=""', "must not be empty"),
        (
            "job.params.when={x: !!set {a}}",
            "must be text, a number, true, false, null, a list or a mapping, not a set",
        ),
    ],
)
def test_a_bad_value_says_what_is_valid_and_where_it_was_set(folder: Path, override: str, message: str) -> None:
    (problem,) = problems(SMALL, override)
    assert problem.startswith(f"--set {override}: ")
    assert message in problem


@pytest.mark.parametrize("option", sorted(COMPUTED.keys() - {"requeue"}))  # of slurm it is a key
def test_what_the_launcher_computes_is_refused_with_the_reason(folder: Path, option: str) -> None:
    (problem,) = problems(SMALL + f"slurm:\n  {option}: x\n")
    key = option.replace("-", "_")
    assert problem == f"config.yaml:5: slurm.{key}: is not for a config to set: {COMPUTED[option]}"


def test_shards_and_samples_per_shard_exclude_each_other(folder: Path) -> None:
    text = SMALL.replace("table.csv", "table.csv, shards: 3")
    assert "cannot be given together with data.shards" in problems(text, "data.samples_per_shard=10")[0]
    assert load(text, "data.samples_per_shard=10", "data.shards=null").data.samples_per_shard == 10


@pytest.mark.parametrize("text", ["0012", "007", "1.10", "1e3", "+5", "0x1F", "-0", "12.", "1_000", ".inf", "4:00"])
def test_what_sbatch_gets_is_what_the_config_says(folder: Path, text: str) -> None:
    config = load(f"{SMALL}slurm: {{account: {text}, exclude: [{text}]}}\n", f"slurm.qos={text}")
    assert config.slurm.options == {"account": text, "exclude": [text], "qos": text}


@given(st.from_regex(r"[-+]?[0-9]{1,5}(\.[0-9]{0,3})?(e[-+]?[0-9])?", fullmatch=True))
def test_a_number_of_the_slurm_section_prints_as_it_is_written(text: str) -> None:
    value = parse_document(f"slurm: {{account: {text}}}", "config.yaml").data["slurm"]["account"]
    assert str(value) == str(parse_value(text, ("slurm", "account"))) == text


def test_any_sbatch_option_is_kept_under_its_own_name(folder: Path) -> None:
    slurm = load(
        SMALL + "slurm: {mem: 1.5T, time: 4:00:00, gpus-per-node: 2, exclusive: true, qos: null, nice: 5}\n"
    ).slurm
    assert slurm.options == {
        "mem": "1536G",
        "time": "4:00:00",
        "gpus-per-node": 2,
        "exclusive": True,
        "nice": 5,
    }
    assert slurm.gpus == 2


def test_an_option_in_both_spellings_is_refused(folder: Path) -> None:
    (problem,) = problems(SMALL + "slurm:\n  mem-per-cpu: 1G\n  mem_per_cpu: 2G\n")
    assert problem == "config.yaml:5: slurm.mem_per_cpu: is written twice, with '_' and with '-': keep mem_per_cpu"


def test_there_may_be_no_finalize_job(folder: Path) -> None:
    config = load(SMALL + "slurm: {finalize: none}\n")
    assert (config.slurm.is_attended, dict(config.slurm.finalize_options)) == (True, {})
    assert config_from_mapping(config.to_mapping(), config.path).slurm.is_attended
    assert not load(SMALL + "slurm: {finalize: }\n").slurm.is_attended
    (wrong,) = problems(SMALL, "slurm.finalize=3")
    assert "must be sbatch options, lines of `key: value` below it, or none, not 3" in wrong


def test_set_changes_one_option_of_the_finalize_job(folder: Path) -> None:
    text = SMALL + "slurm: {finalize: {partition: io, mem-per-cpu: 2G}}\n"
    config = load(text, "slurm.finalize.mem_per_cpu=3G", "slurm.finalize.time=10", "slurm.finalize.qos=low")
    wanted = {"partition": "io", "mem-per-cpu": "3G", "time": "0:10:00", "qos": "low"}
    assert dict(config.slurm.finalize_options) == wanted
    (wrong,) = problems(SMALL + "slurm: {finalize: none}\n", "slurm.finalize.mem=3G")
    assert wrong == "--set slurm.finalize.mem=3G: slurm.finalize is 'none', not a mapping with keys below it"


def test_options_of_the_finalize_job_are_checked_as_those_of_the_array(folder: Path) -> None:
    config = load(SMALL + "slurm: {finalize: {mem_per_cpu: 8000M, time: 90, qos: null}}\n")
    assert config.slurm.finalize == {"mem-per-cpu": "8000M", "time": "1:30:00", "qos": None}
    assert config_from_mapping(config.to_mapping(), config.path).slurm == config.slurm
    (unknown,) = problems(SMALL, "slurm.finalize.memory=3G")
    assert unknown.startswith(
        "--set slurm.finalize.memory=3G: unknown key. Did you mean slurm.finalize.mem? Valid keys: sbatch's"
    )
    assert "slurm.finalize.array=3: is not for a config to set" in problems(SMALL, "slurm.finalize.array=3")[0]


def test_an_override_replaces_an_option_in_the_other_spelling(folder: Path) -> None:
    config = load(SMALL + "slurm: {mem-per-cpu: 1G}\n", "slurm.mem_per_cpu=2G", "slurm.cpus-per-task=8")
    assert config.slurm.options == {"mem-per-cpu": "2G"}
    assert config.slurm.cpus_per_task == 8


def test_a_mistake_in_a_dashed_option_has_its_own_line(folder: Path) -> None:
    (problem,) = problems(SMALL + "slurm:\n  qos: x\n  mem-per-cpu: lots\n")
    assert problem.startswith("config.yaml:6: slurm.mem_per_cpu: must be a size")


def test_cpus_per_task_follow_from_processes_and_workers(folder: Path) -> None:
    assert load(SMALL).cpus_per_task(4) == 8
    assert load(SMALL, "node.workers=0").cpus_per_task(4) == 4
    # An engine has a busy process for each of its GPUs.
    assert load(SMALL, "node.workers=0", "node.gpus_per_process=4").cpus_per_task(2) == 2 * (1 + 4)
    config = load(SMALL, "slurm.cpus_per_task=6")
    assert config.cpus_per_task(2) == 6
    with pytest.raises(InputError, match=r"6 is too few: 4 process.* need 8"):
        config.cpus_per_task(4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("slurm.cpus_per_task=1",), "1 is too few: 1 process"),
        (("slurm.cpus_per_task=7", "node.devices=cuda", "slurm.gres=gpu:a100:4"), "7 is too few: 4 process"),
        (
            ("slurm.tasks=2", "slurm.shards_per_task=1"),
            r"slurm.shards_per_task=1: says the same as slurm.tasks: keep that",
        ),
        (("slurm.mem=64G", "retry.max_memory=32G"), r"32G is less than slurm.mem \(64G\)"),
        (("slurm.time=1-00:00:00", "retry.max_time=12:00:00"), "less than slurm.time"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(folder: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(SMALL, *overrides)


@pytest.mark.parametrize(
    ("overrides", "shards", "tasks"),
    [
        ((), 3, 3),
        ((), 1000, 256),
        (("slurm.array_parallelism=1000",), 1000, 1000),
        (("slurm.nodes_per_task=2",), 5, 3),
        (("slurm.tasks=64",), 1000, 64),
        (("slurm.tasks=64",), 3, 64),
        (("slurm.shards_per_task=4",), 10, 3),
        (("slurm.shards_per_task=1",), 1000, 1000),
        (("slurm.shards_per_task=3", "slurm.nodes_per_task=2"), 6, 1),
    ],
)
def test_there_is_an_array_task_for_each_shard_unless_the_config_wants_others(
    folder: Path, overrides: tuple[str, ...], shards: int, tasks: int
) -> None:
    assert load(SMALL, *overrides).slurm.tasks_for(shards) == tasks


def test_a_run_that_an_older_version_planned_takes_the_new_key(folder: Path) -> None:
    mapping = {**load(SMALL).to_mapping(), "slurm": {"shards_per_task": 1, "tasks": 8}}
    assert config_from_mapping(mapping, Path("config.yaml")).slurm.tasks_for(100) == 8


def test_a_limit_of_retries_may_equal_what_the_first_attempt_gets(folder: Path) -> None:
    assert load(SMALL, "slurm.mem=64G", "retry.max_memory=65536M").retry.max_memory == "64G"


@pytest.mark.parametrize(
    ("overrides", "processes"),
    [
        ((), 1),
        (("node.processes=3",), 3),
        (("node.devices=[cuda:0, cuda:1, cpu]",), 3),
        (("node.devices=cuda", "slurm.gpus_per_task=4"), 4),
        (("slurm.gpus_per_node=a100:2",), 2),
        (("node.devices=cpu", "slurm.gpus=4"), 1),
    ],
)
def test_processes_are_one_per_device_asked_for(folder: Path, overrides: tuple[str, ...], processes: int) -> None:
    assert load(SMALL, *overrides).processes == processes


def test_one_device_may_be_written_without_a_list(folder: Path) -> None:
    assert load(SMALL, "node.devices=cuda:1").node.devices == ("cuda:1",)


def test_overrides_win_and_later_ones_win_over_earlier_ones(folder: Path) -> None:
    config = load(
        FULL, "node.workers=5", "retry.attempts=7", "node.workers=6", "job.params.lr=1e-4", "data.shards=null"
    )
    assert config.node.workers == 6
    assert config.retry.attempts == 7
    assert config.retry.memory_factor == 1.5
    assert config.job.params == {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "max_tokens": 64,
        "lr": 1e-4,
    }
    assert config.data.shards is None


def test_an_override_may_be_a_list_or_a_mapping_and_change_what_is_in_one(folder: Path) -> None:
    overrides = [
        "data.manifest=[a.csv, b.csv]",
        "job.params.a={b: 1, c: [x]}",
        "job.params.a.b=2",
        "node.devices=[cpu, cpu]",
    ]
    config = load(SMALL, *overrides, "slurm={mem: 2G, exclude: [n1]}", "after=[x, y]", "notify=[mail, me]")
    assert config.data.sources == ("a.csv", "b.csv")
    assert config.job.params == {"a": {"b": 2, "c": ["x"]}}
    assert config.node.devices == ("cpu", "cpu")
    assert config.slurm.options == {"mem": "2G", "exclude": ["n1"]}
    assert (config.after, config.notify) == (("x", "y"), ("mail", "me"))
    assert load(SMALL, "data.manifest={train: a.csv, test: [b.csv]}").data.manifests["test"] == ("b.csv",)


@pytest.mark.parametrize(
    "override",
    ["node", "=3", "node.=3", ".=3", "name.sub=3", "node.workers=[1", "data.id=#a", "data.id=a #b", "data.id='a' #b",
     "data.id=&a", "data.id=&a b", "data.id=a: b", "data.id=- a", "data.id=-", "data.id=>5", "data.id=|", "data.id=---",
     "data.id=[a] #b"],
)  # fmt: skip
def test_an_override_that_cannot_be_applied_is_named(folder: Path, override: str) -> None:
    (problem,) = problems(SMALL, override)
    assert problem.startswith(f"--set {override}: ")


def test_a_line_break_in_an_override_is_not_made_a_space(folder: Path) -> None:
    assert "write text with such signs in quotes" in "".join(problems(SMALL, "data.id=a\nb"))


@pytest.mark.parametrize("text", ['"#a"', "' - a: >'", "a#b", "a:b", "--a", "a &b", '"a\\nb"'])
def test_signs_of_yaml_in_an_override_may_be_in_quotes_or_a_word(folder: Path, text: str) -> None:
    assert load(SMALL, f"data.id={text}").data.id == text.strip("'\"").replace("\\n", "\n")


def test_an_unknown_key_in_an_override_names_the_nearest(folder: Path) -> None:
    (problem,) = problems(SMALL, "node.worker=3")
    assert problem.startswith("--set node.worker=3: unknown key. Did you mean node.workers?")


def test_paths_start_at_the_folder_of_the_config(folder: Path, tmp_path: Path) -> None:
    nested = tmp_path / "project"
    nested.mkdir()
    (nested / "site.sbatch").touch()
    text = SMALL + "runs: ../all\noutput: {path: out/x.h5}\nslurm: {template: site.sbatch}\n"
    (nested / "config.yaml").write_text(text)
    config = load_config(Path("project/config.yaml"))
    assert config.folder == nested
    assert config.run_folder == tmp_path / "all" / "small"
    assert config.output_path == nested / "out" / "x.h5"
    assert config.template_path == nested / "site.sbatch"
    assert config.data.sources == ("table.csv",)


def test_without_paths_the_result_is_in_the_run_directory_and_the_template_is_built_in(folder: Path) -> None:
    config = load(SMALL)
    assert config.output_path is None
    assert config.template_path is None


def test_a_pattern_after_set_needs_no_quotes(folder: Path) -> None:
    assert load(FULL, "data.manifest=*.jpg").data.sources == ("*.jpg",)
    assert value_text("*.jpg") == '"*.jpg"', "as in a config"


def test_an_override_without_a_value_is_null(folder: Path) -> None:
    assert load(FULL, "data.id=").data.id is None


def test_an_empty_section_means_its_defaults(folder: Path) -> None:
    assert load(SMALL + "retry:\nnode:\n").to_mapping() == load(SMALL).to_mapping()


def test_params_are_left_as_they_are(folder: Path) -> None:
    text = SMALL.replace(
        "my_jobs:Mine", "my_jobs:Mine, params: {a: '010', b: [1, {c: null}], d: 2024-01-01, e: 1e-4, f: 4:00}"
    )
    assert load(text).job.params == {
        "a": "010",
        "b": [1, {"c": None}],
        "d": "2024-01-01",
        "e": 1e-4,
        "f": "4:00",
    }


def test_params_may_be_infinite_or_no_number_and_stay_so(folder: Path) -> None:
    config = load(SMALL.replace("my_jobs:Mine", "my_jobs:Mine, params: {a: .inf, b: [-.inf, {c: .nan}]}"))
    mapping = json.loads(json.dumps(config.to_mapping()))
    assert repr(mapping["job"]["params"]) == "{'a': inf, 'b': [-inf, {'c': nan}]}"
    assert repr(config_from_mapping(mapping, config.path).job.params) == repr(config.job.params)


# Nine lists of nine aliases each: a billion values.
_BOMB = "a0: &a0 1\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nname: y\n", "config.yaml:2: name: is already in line 1"),
        ("node:\n  workers: 1\n  workers: 2\n", "config.yaml:3: node.workers: is already in line 2"),
        ("name: x\nnode:\n\tworkers: 1\n", "config.yaml:3: not valid YAML: .*indent with spaces"),
        ("name: a: b\n", "config.yaml:1: not valid YAML: mapping values are not allowed here"),
        ("name: [1\n", "config.yaml:2: not valid YAML"),
        ("- a\n", "config.yaml:1: must be a mapping"),
        ("a: 1\n---\nb: 1\n", "config.yaml:2: not valid YAML: .*another document"),
        ("a: !!python/object:os.x {}\n", "config.yaml:1: not valid YAML: could not determine a constructor"),
        ("1: x\n", "config.yaml:1: not valid YAML: a key must be text"),
        ("a: &x [*x]\n", "config.yaml:1: not valid YAML: an alias"),
        ("a: 1\nb: \x01\n", "config.yaml:2: not valid YAML: control character"),
        (
            "a: *b\n",
            r"config.yaml:1: not valid YAML: found undefined alias .*; text that begins with \* stands in quotes",
        ),
        ("a: @b\n", "config.yaml:1: not valid YAML: found character '@' .*; text that begins with it stands in quotes"),
        ("a: !!int x\n", "config.yaml:1: not valid YAML: not a whole number"),
        (f"a: 1\nb: {'9' * 5000}\n", "config.yaml:2: not valid YAML: a number of over 4,300 digits"),
        (f"a: {'[' * 200}{']' * 200}\n", "config.yaml:1: not valid YAML: lists or mappings lie too deep"),
        (_BOMB, "config.yaml:1: not valid YAML: more than 1,000,000 values"),
    ],
)
def test_what_is_no_yaml_mapping_has_its_line(folder: Path, text: str, message: str) -> None:
    Path("config.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(Path("config.yaml"))


def test_a_file_that_cannot_be_read_is_bad_input(folder: Path) -> None:
    with pytest.raises(InputError, match=r"none.yaml: no such file"):
        load_config(Path("none.yaml"))
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_config(folder)
    Path("latin.yaml").write_bytes("name: x\n# é\n".encode("latin1"))
    with pytest.raises(InputError, match=r"latin.yaml:2: not UTF-8"):
        load_config(Path("latin.yaml"))


def test_an_empty_file_lacks_what_is_required(folder: Path) -> None:
    found = problems("")
    assert [problem.split(": ")[1] for problem in found] == ["data.manifest", "job.class", "name"]
    assert all("is required" in problem for problem in found)


def test_a_size_may_have_a_space_and_a_byte_in_each_key_that_is_one(folder: Path) -> None:
    slurm = "slurm: {mem: 16 GB, tmp: 10 GiB, finalize: {mem: 2 gb}}\n"
    config = load(
        f"{SMALL}{slurm}node: {{memory: 4 GB}}\nretry: {{max_memory: 16 GB}}\noutput: {{max_file_size: 1 GB}}\n"
    )
    assert config.slurm.options == {"mem": "16G", "tmp": "10G"}
    assert (config.slurm.finalize, config.retry.max_memory) == ({"mem": "2G"}, "16G")
    assert (config.output.max_file_size, config.node.memory) == ("1G", "4G")
    (problem,) = problems(SMALL + "slurm: {tmp: much}\n")
    assert "must be a size such as 64G" in problem


def test_what_is_misspelt_comes_before_what_is_missing(folder: Path) -> None:
    missing, *more = reversed(problems("name: x\njobs: {class: a:B}\ndata: {shards: 2}\nnode: {workres: 2}\n"))
    assert "data.manifest: is required" in missing
    assert ["node.workres: unknown key" in more[0], "jobs: unknown key. Did you mean job?" in more[1]] == [True, True]
    assert len(more) == 2, "what job lacks stands below jobs"


def test_a_required_key_that_is_misspelt_is_not_missed_as_well(folder: Path) -> None:
    written = "data: {manifst: p.csv}\njob: {clas: m:C}\nnaem: x\nnode: {worker: 2}\n"
    found = [problem.split(": ")[1] for problem in problems(written)]
    assert found == ["data.manifst", "job.clas", "naem", "node.worker"]
    found = problems("name: x\njob: {class: 'm:C'}\ndata: {shard: 2}\n")
    assert sorted(problem.split(": ")[1] for problem in found) == ["data.manifest", "data.shard"]


def test_lines_of_merged_keys_are_those_of_the_mapping_around() -> None:
    document = parse_document("a: &x\n  b: 1\nc:\n  <<: *x\n  d: 2\n", "file")
    assert document.data == {"a": {"b": 1}, "c": {"b": 1, "d": 2}}
    assert document.line(("c", "b")) == 3
    assert document.line(("c", "d")) == 5
    assert document.line(("none",)) == 1


def test_every_option_that_is_not_computed_has_a_valid_value() -> None:
    for name in OPTIONS - COMPUTED.keys():
        accepted = []
        for value in (True, "1"):
            try:
                accepted.append(check_option(name, value))
            except ValueError:
                continue
        assert accepted, name


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ({}, 0),
        ({"gres": "gpu"}, 1),
        ({"gres": "gpu:2"}, 2),
        ({"gres": "lustre:1,gpu:a100:4(S:0-1)"}, 4),
        ({"gres": ["gpu:a100:1", "gpu:h100:2"]}, 3),
        ({"gpus": "a100:2,h100:1"}, 3),
        ({"gpus-per-node": 4}, 4),
    ],
)
def test_gpus_are_counted_in_all_of_sbatchs_spellings(options: dict[str, object], gpus: int) -> None:
    assert gpus_asked(options) == gpus


SEVERAL = """\
name: several
job: {class: my_jobs:Mine}
data:
  manifest:
    train: [a.csv, b.csv]
    test: c.csv
"""


def test_several_manifests_have_names(folder: Path) -> None:
    data = load(SEVERAL, "data.order=parallel").data
    assert data.manifests == {"train": ("a.csv", "b.csv"), "test": ("c.csv",)}
    assert data.sources == ("a.csv", "b.csv", "c.csv")
    assert data.order == "parallel"
    assert load(SMALL).data.manifests == {}
    again = config_from_mapping(json.loads(json.dumps(load(SEVERAL).to_mapping())), Path("config.yaml"))
    assert again == load(SEVERAL)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("te/st: c.csv", "config.yaml:6: data.manifest.te/st: the name of a manifest is letters, digits, '_' and '-'"),
        (
            "test: 3",
            "config.yaml:6: data.manifest.test: must be the path of a table, a glob of sample files, or a list",
        ),
        ("test: []", "config.yaml:6: data.manifest.test: must be the path of a table"),
        (
            "te st: c.csv\noutput: {path: 'x-{manifest}.h5'}",
            "config.yaml:6: data.manifest.te st: the name of a manifest",
        ),
        ("test.part: c.csv", "config.yaml:6: data.manifest.test.part: the name of a manifest is letters"),
    ],
)
def test_a_mistake_in_one_of_several_manifests_has_its_own_line(folder: Path, line: str, shown: str) -> None:
    (problem,) = problems(SEVERAL.replace("test: c.csv", line))
    assert problem.startswith(shown)


def test_an_empty_mapping_of_manifests_is_refused(folder: Path) -> None:
    (problem,) = problems(SMALL, "data.manifest={}")
    assert "must be the path of a table" in problem


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (SEVERAL, "x.h5", "put {manifest} into it, as in x-{manifest}.h5"),
        (SMALL, "{manifest}.h5", "this config has one"),
    ],
)
def test_an_output_path_names_each_result_once(folder: Path, text: str, path: str, message: str) -> None:
    (problem,) = problems(text, f"output.path='{path}'")
    assert problem.startswith(f"--set output.path='{path}': ")
    assert message in problem


def test_an_order_that_is_none_is_refused(folder: Path) -> None:
    (problem,) = problems(SEVERAL, "data.order=random")
    assert "must be 'sequential' or 'parallel'" in problem


@pytest.mark.parametrize("section", ["slurm: ", "node:", "job: {class: my_jobs:Mine, params: }"])
def test_a_section_whose_keys_are_all_commented_out_means_the_defaults(folder: Path, section: str) -> None:
    text = SMALL if not section.startswith("job") else SMALL.replace("job: {class: my_jobs:Mine}\n", "")
    assert load(f"{text}{section}\n").job.params == {}


def test_every_key_has_a_meaning() -> None:
    every: list[type[BaseModel]] = [Config, *sections(Config).values()]
    for section in every:
        fields = {name: field for name, field in section.model_fields.items() if name != "options"}
        silent = [name for name, field in fields.items() if not field.description and name not in sections(Config)]
        assert silent == [], section
