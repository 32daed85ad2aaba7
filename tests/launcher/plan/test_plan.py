"""Planning: what is checked, what is written, what makes two plans the same run."""

import errno
import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import DamageError, InputError, RunError
from jobs.gather.manifest_check import check_manifest
from jobs.job import Job, needed_columns
from jobs.storage import checked_json
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.samples import Samples
from launcher.config.config import load_config
from launcher.config.yaml_lines import parse_document
from launcher.manifest.manifest import build_manifest
from launcher.plan import new_plan
from launcher.plan.guard import Way
from launcher.plan.plan import go_on, make_plan
from launcher.plan.runs_folder import check_runs_folder
from launcher.runs.find import find_run
from launcher.submit.settings import current_config
from tests.support.builders import AttemptWriter
from tests.support.instant_executor import command, instant_executor
from tests.support.launcher_runs import launcher, run_of, write_config


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


def planned(config: Path, *overrides: str) -> Plan:
    return make_plan(load_config(config, overrides)).plan


def fingerprint(config: Path, *overrides: str) -> str:
    return planned(config, *overrides).fingerprint


def elsewhere(config: Path, name: str, *overrides: str) -> str:
    """The fingerprint of a run of another name."""
    return fingerprint(config, f"name={name}", *overrides)


def test_a_plan_is_read_back_as_it_was_written(config: Path) -> None:
    made = make_plan(load_config(config))
    assert made.is_new
    assert Plan.read(made.run.plan) == made.plan
    assert made.run.path == config.parent / "runs" / "toy"


def test_the_run_directory_holds_manifest_config_and_folders(config: Path) -> None:
    run = make_plan(load_config(config)).run
    assert [sample["x"] for sample in Samples(run.manifest).rows(0, 100)] == list(range(100))
    assert sorted(path.name for path in run.path.iterdir()) == [
        "attempts", "config.yaml", "logs", "manifest.arrow", "plan.json", "submissions",
    ]  # fmt: skip


def test_the_frozen_config_of_a_pattern_gives_the_same_run_from_anywhere(tmp_path: Path) -> None:
    """Ids are paths as the pattern has them, which begin in the folder of the config that a person wrote."""
    config = write_config(tmp_path / "a", data={"manifest": "files/*.txt"})
    (tmp_path / "a" / "files").mkdir()
    for name in ("x", "y"):
        (tmp_path / "a" / "files" / f"{name}.txt").write_text(name)
    planned = make_plan(load_config(config))
    copy = tmp_path / "copy.yaml"
    copy.write_text(planned.run.config.read_text())
    again = make_plan(load_config(copy))
    assert (again.is_new, again.notes, again.run.path) == (False, (), planned.run.path)
    assert again.plan.job.folder == str(tmp_path / "a")


def test_a_job_is_imported_from_more_folders_than_one(tmp_path: Path) -> None:
    config = write_config(tmp_path / "a", job="job_of_elsewhere:Mine")
    text = json.loads(config.read_text())
    text["job"]["import_from"] = ["../b", "../c"]
    config.write_text(json.dumps(text))
    for name, module in (("b", "job_of_elsewhere"), ("c", "helper_of_elsewhere")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{module}.py").write_text(
            "from jobs import Job\n\n\nclass Mine(Job):\n    def process(self, batch): ...\n"
        )
    with (tmp_path / "b" / "job_of_elsewhere.py").open("a") as file:
        file.write("\nimport helper_of_elsewhere\n")
    plan = make_plan(load_config(config)).plan
    assert plan.job.import_from == (str(tmp_path / "b"), str(tmp_path / "c"))
    assert set(plan.code) == {"job_of_elsewhere.py", "helper_of_elsewhere.py"}
    assert Plan.read(run_of(config).plan) == plan
    # Where code lies decides nothing.
    (tmp_path / "b").rename(tmp_path / "d")
    text["job"]["import_from"] = ["../d", "../c"]
    config.write_text(json.dumps(text))
    again = make_plan(load_config(config))
    assert (again.notes, again.plan.job.import_from[0]) == ((), str(tmp_path / "d"))


def test_the_frozen_config_gives_the_same_run_from_where_it_lies(config: Path) -> None:
    run = make_plan(load_config(config)).run
    frozen = load_config(run.config)
    assert frozen.run_folder == run.path
    assert frozen.node == load_config(config).node
    assert parse_document(run.config.read_text(), "config.yaml").data["retry"]["attempts"] == 3
    assert make_plan(frozen).is_new is False


def store_something(run: RunDir) -> None:
    with AttemptWriter(run) as writer:
        writer.commit(0, 8)
        writer.beat()


def test_planning_again_changes_nothing(config: Path) -> None:
    first = make_plan(load_config(config))
    before = {path: path.stat().st_mtime_ns for path in first.run.path.rglob("*")}
    again = make_plan(load_config(config))
    assert not again.is_new
    assert again.plan == first.plan
    assert {path: path.stat().st_mtime_ns for path in first.run.path.rglob("*")} == before


def test_an_interrupted_planning_is_done_again(config: Path) -> None:
    run = make_plan(load_config(config)).run
    run.plan.unlink()
    run.manifest.write_bytes(b"half")
    (run.path / ".manifest.arrow.1.tmp").write_bytes(b"quarter")
    again = make_plan(load_config(config))
    assert again.is_new
    assert len(list(Samples(run.manifest).rows(0, 100))) == 100


@pytest.mark.parametrize("gone", [(), ("layout.json",)])
def test_what_was_computed_is_not_taken_for_that_of_a_new_plan(config: Path, gone: Sequence[str]) -> None:
    assert launcher(config.parent, "run", config).returncode == 0
    run = run_of(config)
    for name in (*gone, "plan.json", "result.h5"):
        (run.path / name).unlink()
    with pytest.raises(InputError, match=r"its plan\.json is gone, which says of what: bring back a copy"):
        make_plan(load_config(config, ["node.batch_size=16"]))
    with pytest.raises(InputError, match=r"its plan\.json is gone, without which nobody knows what it computed"):
        find_run(str(run.path))


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ("data.shards=5", "data.shards: 4 -> 5"),
        ("node.batch_size=16", "node.batch_size: 8 -> 16"),
        ("job.params.delay=0.5", "job.params.delay: null -> 0.5"),
        (
            "job.class=tests.example_jobs.toy_jobs:Random",
            "job.class: tests.example_jobs.toy_jobs:Toy -> tests.example_jobs.toy_jobs:Random",
        ),
        ("data.id=x", "data.id: null -> x"),
    ],
)
def test_what_decides_a_result_that_is_there_may_not_change_and_is_named(
    config: Path, override: str, shown: str
) -> None:
    store_something(make_plan(load_config(config)).run)
    with pytest.raises(InputError) as caught:
        make_plan(load_config(config, [override]))
    assert f"  {shown}\n" in str(caught.value)
    assert "--set name=toy-2" in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert ("--keep-results" in str(caught.value)) is override.startswith("job.")


@pytest.mark.parametrize(
    "override",
    ["node.processes=2", "node.workers=0", "node.devices=cpu", "node.sync_interval=1", "node.sample_timeout=9",
     "node.max_failed_samples=5", "executor=auto", "local.parallelism=1", "slurm.mem=4G", "retry.attempts=1"],
)  # fmt: skip
def test_what_does_not_decide_the_result_may_change(config: Path, override: str) -> None:
    first = planned(config)
    assert make_plan(load_config(config, [override])).plan == first
    assert elsewhere(config, "other", override) == first.fingerprint


WEIGHTED = """
from jobs.job import Job

class Weighted(Job):
    param_files = ("weights",)
    def __init__(self, weights: str) -> None: ...
    def process(self, batch): ...
"""


@pytest.fixture
def weighted(config: Path) -> Path:
    """A config whose Job has a file of weights, and which is planned and begun."""
    (config.parent / "weighted_job.py").write_text(WEIGHTED)
    (config.parent / "w.bin").write_bytes(b"first")
    write_config(config.parent, job="weighted_job:Weighted", params={"weights": "w.bin"})
    made = make_plan(load_config(config))
    assert made.plan.files["weights"]["path"] == str(config.parent / "w.bin")
    store_something(made.run)
    return config


def test_a_file_of_the_params_with_other_content_is_refused(weighted: Path) -> None:
    file = weighted.parent / "w.bin"
    file.write_bytes(b"other")
    with pytest.raises(InputError, match=rf"job\.params\.weights: {file} is not what it was"):
        planned(weighted)
    run = make_plan(load_config(weighted, ["name=new"])).run
    store_something(run)
    file.unlink()
    known = Plan.read(run.plan)
    with pytest.raises(InputError, match="is not what it was"):
        go_on(run, known, current_config(run, known))


SAMPLES = """
from jobs.job import Job

class Both(Job):
    def process(self, batch): ...

class Samples(Job):
    async def load(self, sample): ...
    async def process_sample(self, item, seed): ...
"""


def test_a_job_that_takes_samples_one_by_one_now_has_other_batches(config: Path) -> None:
    (config.parent / "sampled_job.py").write_text(SAMPLES)
    write_config(config.parent, job="sampled_job:Both", params={})
    run = make_plan(load_config(config)).run
    store_something(run)
    known, other = Plan.read(run.plan), load_config(config, ["job.class=sampled_job:Samples"])
    message = r"node.batch_size: batches are of 1 now, and were of \d+ \(see process_sample in the Job\)\n(?!Where the results)"
    with pytest.raises(InputError, match=message):
        make_plan(other, Way.KEEP)
    with pytest.raises(InputError, match=message):
        go_on(run, known, other, Way.KEEP)


def test_an_async_load_of_samples_one_by_one_needs_pool_workers(config: Path) -> None:
    (config.parent / "sampled_job_too.py").write_text(SAMPLES)
    write_config(config.parent, job="sampled_job_too:Samples", params={}, node={"workers": 0})
    with pytest.raises(InputError, match=r"config.yaml:\d+: node.workers: Samples has process_sample .* 1 or more"):
        make_plan(load_config(config))


def test_a_file_of_the_params_that_was_copied_is_the_same(weighted: Path) -> None:
    file = weighted.parent / "w.bin"
    file.unlink()
    file.write_bytes(b"first")
    os.utime(file, (1, 1))
    assert not make_plan(load_config(weighted)).is_new


def test_a_folder_of_the_params_is_compared_file_by_file(weighted: Path) -> None:
    folder = weighted.parent / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.bin").write_bytes(b"a")
    overrides = ("name=folder", "job.params.weights=model")
    store_something(make_plan(load_config(weighted, overrides)).run)
    assert planned(weighted, *overrides).files["weights"]["path"] == str(folder)
    (folder / "deep" / "b.bin").write_bytes(b"")
    with pytest.raises(InputError, match="is not what it was"):
        planned(weighted, *overrides)


def test_params_that_name_no_file_are_left_out(weighted: Path) -> None:
    assert planned(weighted, "name=other", "job.params.weights=module:function").files == {}


def test_a_changed_manifest_is_refused(config: Path) -> None:
    store_something(make_plan(load_config(config)).run)
    with (config.parent / "data.csv").open("a") as file:
        file.write("100\n")
    with pytest.raises(InputError, match=r"the samples in data\.manifest changed: 100 rows then, 101 now"):
        make_plan(load_config(config))


def test_a_manifest_that_was_only_touched_is_the_same(config: Path) -> None:
    first = planned(config)
    os.utime(config.parent / "data.csv", (1, 1))
    assert planned(config) == first


def test_the_same_samples_in_another_place_are_the_same_run(config: Path, tmp_path: Path) -> None:
    other = write_config(tmp_path / "elsewhere")
    assert fingerprint(config) == fingerprint(other)


@pytest.mark.parametrize(
    "override",
    ["data.shards=5", "node.batch_size=16", "job.params.delay=0.5", "job.class=tests.example_jobs.toy_jobs:Random"],
)
def test_the_fingerprint_covers_what_decides_the_result(config: Path, override: str) -> None:
    assert fingerprint(config) != elsewhere(config, "other", override)


def test_the_fingerprint_does_not_depend_on_the_order_of_params(tmp_path: Path) -> None:
    prints = []
    for name, params in (("a", {"delay": 0.1, "bad": {}}), ("b", {"bad": {}, "delay": 0.1})):
        prints.append(fingerprint(write_config(tmp_path / name, params=params)))
    assert prints[0] == prints[1]


@settings(max_examples=25)
@given(rows=st.integers(1, 300), shards=st.integers(1, 40))
def test_shards_cover_every_row_once(tmp_path_factory: pytest.TempPathFactory, rows: int, shards: int) -> None:
    plan = planned(write_config(tmp_path_factory.mktemp("plan"), rows=rows, shards=shards))
    covered = [row for shard in plan.shards() for row in range(shard.start, shard.stop)]
    assert covered == list(range(rows))
    assert plan.shard_count == min(rows, shards)


def test_shards_are_balanced_by_cost(tmp_path: Path) -> None:
    config = write_config(tmp_path, data={"cost": "cost", "shards": 4})
    costs = [100 if row == 0 else 1 for row in range(100)]
    lines = [f"{row},{cost}\n" for row, cost in enumerate(costs)]
    (tmp_path / "data.csv").write_text("x,cost\n" + "".join(lines))
    plan = planned(config)
    totals = [sum(costs[shard.start : shard.stop]) for shard in plan.shards()]
    assert totals[0] == 100
    assert max(totals[1:]) <= 34


def test_samples_per_shard_sets_the_size(tmp_path: Path) -> None:
    config = write_config(tmp_path, data={"shards": None, "samples_per_shard": 30})
    assert [shard.rows for shard in planned(config).shards()] == [30, 30, 30, 10]


def test_a_glob_of_files_is_a_manifest(tmp_path: Path) -> None:
    config = write_config(tmp_path, shards=2, data={"manifest": "images/*.jpg"})
    (tmp_path / "images").mkdir()
    for name in ("b", "a", "c"):
        (tmp_path / "images" / f"{name}.jpg").touch()
    made = make_plan(load_config(config))
    assert (made.plan.rows, made.plan.id_column) == (3, "id")
    store_something(made.run)
    (tmp_path / "images" / "d.jpg").touch()
    with pytest.raises(InputError, match="3 rows then, 4 now"):
        make_plan(load_config(config))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("job.class=tests.example_jobs.toy_jobs:Toi", "the module's Jobs: .*Toy"),
        ("job.class=tests.no_such:Toy", "cannot import 'tests.no_such'"),
        ("job.params.speed=3", "unknown parameter. Parameters of tests.example_jobs.toy_jobs:Toy: bad, delay"),
        ("data.manifest=dta.csv", "no such file.*did you mean data.csv"),
        ("data.id=name", "name"),
        ("output.path=nowhere/result.h5", "no such folder"),
    ],
)
def test_bad_input_is_refused_before_anything_can_be_submitted(config: Path, override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_plan(load_config(config, [override]))
    assert not (config.parent / "runs").exists()


def test_a_module_that_exits_when_imported_is_bad_input(config: Path) -> None:
    (config.parent / "script.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(InputError, match=r"calls sys\.exit"):
        make_plan(load_config(config, ["job.class=script:Main"]))


def test_what_a_module_prints_does_not_reach_stdout(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "chatty.py").write_text("print('hello')\nfrom tests.example_jobs.toy_jobs import Toy\n")
    make_plan(load_config(config, ["job.class=chatty:Toy"]))
    captured = capsys.readouterr()
    said = captured.err.replace("importing chatty:Toy ...\n", "")  # where that takes long
    assert (captured.out, said) == ("", "hello\n")


def test_a_folder_that_is_no_run_is_left_alone(config: Path) -> None:
    strange = config.parent / "runs" / "toy"
    strange.mkdir(parents=True)
    (strange / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"it holds 'thesis.tex'"):
        make_plan(load_config(config))
    assert [path.name for path in strange.iterdir()] == ["thesis.tex"]


def test_the_plan_records_what_made_it(config: Path) -> None:
    folder = config.parent
    for words in (["init", "-q"], ["add", "data.csv"], ["commit", "-qm", "data"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(folder), *identity, *words], check=True)
    (folder / "data.csv").write_text("x\n1\n")
    plan = planned(config)
    assert len(plan.git["commit"]) == 40
    assert plan.git["dirty"] is True
    assert {"python", "numpy", "h5py", "platform", "hostname", "user"} <= plan.environment.keys()


def test_no_git_repository_is_no_problem(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(config.parent.parent))
    assert planned(config).git == {}


def test_changed_files_of_a_repository_may_have_names_of_any_encoding(config: Path) -> None:
    odd = config.parent / os.fsdecode(b"caf\xe9")
    odd.write_text("1")
    git = ["git", "-C", str(config.parent), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["config", "core.quotePath", "false"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *arguments], check=True)
    odd.write_text("2")
    assert planned(config).git["dirty"]


def test_a_plan_of_a_newer_format_is_not_misread(config: Path) -> None:
    run: RunDir = make_plan(load_config(config)).run
    data = checked_json.decode(run.plan.read_bytes())
    run.plan.write_bytes(checked_json.encode({**data, "format": 99}))
    with pytest.raises(Exception, match="format 99"):
        make_plan(load_config(config))


@pytest.mark.parametrize("number", [1, 2])
def test_a_plan_of_an_older_format_that_is_asked_for_again_is_the_same(config: Path, number: int) -> None:
    made = make_plan(load_config(config))
    old = replace(made.plan, format=number)
    old.write(made.run.plan)
    assert make_plan(load_config(config)).plan == old
    (config.parent / "data.csv").touch()  # so that the samples are read and compared
    assert make_plan(load_config(config)).plan == old


def test_relative_paths_in_params_start_in_the_folder_of_the_config_wherever_it_is_planned(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config.parent / "table.txt").write_text("x")
    (config.parent / "reads_table.py").write_text(
        "from jobs.job import Job\n\n\nclass ReadsTable(Job):\n    def __init__(self, table: str) -> None:\n"
        "        open(table).close()\n\n    def process(self, batch): ...\n"
    )
    monkeypatch.chdir("/")
    params = ('job.class="reads_table:ReadsTable"', 'job.params={"table": "table.txt"}')
    assert planned(config, *params).job.params == {"table": "table.txt"}
    assert Path.cwd() == Path("/")


@pytest.mark.parametrize(
    ("job", "params", "lacks"),
    [
        ("jobs.download:Download", {"folder": "files", "url": "adress"}, "adress"),
        ("jobs.download:Download", {"folder": "files", "url": "x", "checksum": "sha"}, "sha"),
        ("jobs.command:Command", {"command": ["echo", "{nope}"]}, "nope"),
        ("jobs.command:Command", {"command": ["cat"], "stdin": "{X} {index} {id} {x}"}, "X"),
        ("tests.launcher.plan.test_plan:Reads", {}, "words"),
    ],
)
def test_a_column_that_a_job_needs_and_the_manifest_lacks_is_told_when_planning(
    tmp_path: Path, job: str, params: dict[str, object], lacks: str
) -> None:
    config = write_config(tmp_path, job=job, params=params)
    done = launcher(tmp_path, "plan", config)
    assert done.returncode == 2
    assert re.search(
        rf"config\.yaml:\d+: job\.params.*: {job} needs the column '{lacks}', which .* its columns: x", done.stderr
    )
    assert not run_of(config).plan.exists()


class Reads(Job):
    """A Job that says which columns it reads."""

    def manifest_columns(self) -> tuple[str, ...]:
        return ("x", "words")

    def process(self, batch: object) -> dict[str, object]:
        return {}


class ReadsOtherwise(Reads):
    """What the class above needs is not what this one's own load needs."""

    def load(self, sample: Mapping[str, object]) -> object:
        return sample["x"]


def test_what_a_job_needs_is_not_asked_of_one_that_loads_by_itself(tmp_path: Path) -> None:
    assert needed_columns(Reads()) == ("x", "words")
    assert needed_columns(ReadsOtherwise()) == ()
    planned(write_config(tmp_path, job="tests.launcher.plan.test_plan:ReadsOtherwise", params={}))


# --- several at once, and what lacks


def test_of_two_that_plan_one_name_at_once_one_has_its_way(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config.parent / "other.csv").write_text("x\n" + "".join(f"{row}\n" for row in range(1000, 1100)))
    real, made = build_manifest, list[Plan]()

    def build(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        if not made:  # while one has read its samples, the other plans from the first step to the last
            monkeypatch.setattr(new_plan, "build_manifest", real)
            made.append(planned(config, "data.manifest=other.csv"))
        return found

    monkeypatch.setattr(new_plan, "build_manifest", build)
    with pytest.raises(InputError, match="this run was planned otherwise"):
        planned(config)
    run = run_of(config)
    assert Plan.read(run.plan) == made[0]
    assert [sample["x"] for sample in Samples(run.manifest, made[0].manifest_digests).rows(0, 2)] == [1000, 1001]
    assert "other.csv" in run.config.read_text()
    assert not list(run.path.glob(".*"))


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_planning_again_writes_a_manifest_anew_that_is_not_what_was_planned(config: Path, damage: str) -> None:
    first, run = make_plan(load_config(config)), run_of(config)
    before = run.manifest.read_bytes()
    if damage == "gone":
        run.manifest.unlink()
    else:
        changed = before.replace((50).to_bytes(8, "little"), (99).to_bytes(8, "little"))
        run.manifest.write_bytes(before[:500] if damage == "cut" else changed)
    with pytest.raises((DamageError, RunError), match=r"manifest\.arrow.*`launcher plan` with the same config"):
        check_manifest(run, first.plan)
    again = make_plan(load_config(config))
    assert not again.is_new
    assert again.plan == first.plan
    assert run.manifest.read_bytes() == before


def test_a_plan_that_a_bit_went_bad_of_is_not_read(config: Path) -> None:
    run = make_plan(load_config(config)).run
    run.plan.write_text(run.plan.read_text().replace('"batch_size": 8', '"batch_size": 9'))
    with pytest.raises(RunError, match=r"plan\.json: cut short or damaged .*bring back a copy"):
        Plan.read(run.plan)


def test_a_plan_that_nobody_came_to_write_is_written(config: Path) -> None:
    run = run_of(config)
    run.make()
    run.plan.touch()  # without hard links, and killed between the name and the content
    assert make_plan(load_config(config)).is_new


def test_a_result_whose_name_is_too_long_for_a_file_is_told(config: Path) -> None:
    with pytest.raises(InputError, match=r"output\.path.*bytes too long for the name of a result: at most 240"):
        planned(config, f"output.path={'o' * 247}.h5")
    planned(config, f"output.path={'o' * 237}.h5")


def test_a_result_is_no_folder(config: Path) -> None:
    (config.parent / "folder").mkdir()
    with pytest.raises(InputError, match=r"output\.path.*is a folder"):
        planned(config, "output.path=folder")


CALLS = ("os.replace", "os.pwrite", "mmap.mmap", "os.fdatasync")


@pytest.mark.parametrize("call", CALLS)
def test_a_file_system_that_cannot_hold_a_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    check_runs_folder(tmp_path)
    monkeypatch.setattr(call, refuse)
    with pytest.raises(InputError, match=r"its file system cannot hold a run: .*not supported"):
        check_runs_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_said_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "file")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match="No space left"):
        check_runs_folder(tmp_path)


def test_planned_again_with_other_settings_it_says_which_and_what_goes_on_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name the run would go on with those that it was planned with."""
    monkeypatch.chdir(tmp_path)
    config = write_config(tmp_path, 8, shards=1).name
    more = ["--set", "node.sync_interval=3"]
    with instant_executor():
        assert "planned: " in command("plan", config)[1]
        assert "already planned, nothing changed: " in command("plan", config)[1]
        said = command("plan", config, *more)[1]
        assert re.search(r"with the same samples and Job; settings changed: node.sync_interval: \S+ -> 3.0: ", said)
        words = f"{config} {' '.join(more)}"
        assert said.endswith(f"next: launcher submit {words}, or launcher run {words}\n")
        assert command("run", config, *more, "--set", "executor=instant")[0] == 0
        said = command("plan", config, *more, "--set", "executor=instant")[1]
    assert "already planned, nothing changed: " in said
    assert said.endswith("it is complete: launcher status toy; to compute all again: launcher run toy --fresh\n")
