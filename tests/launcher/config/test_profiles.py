"""Profiles: which one counts, what a config undoes, what is refused and where, and what a planned run keeps of them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InputError
from jobs.storage.plans import Plan
from jobs.storage.submission import Submission
from launcher.config import profile_files
from launcher.config.config import Config, config_from_mapping, load_config
from launcher.config.place import run_folder_of
from launcher.config.profiles import Setting, put_below
from launcher.plan.plan import make_plan
from launcher.slurm.scripts import asked_options
from launcher.slurm.slurm_executor import SlurmExecutor
from launcher.submit.settings import current_config
from launcher.submit.submit import record
from tests.support.launcher_runs import in_process, run_of, write_config

CONFIG = "name: x\njob: {class: a:B}\ndata: {manifest: a.csv}\n"


class Files:
    """A site's profile, a person's and one that is named, and a config, which are written one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "etc" / "launcher.yaml"
        self.person = folder / "home" / "launcher.yaml"
        self.named = folder / "lab" / "lab.yaml"
        self.config = folder / "config.yaml"
        for path in (self.site, self.person, self.named):
            path.parent.mkdir()

    def load(self, text: str = "", *overrides: str) -> Config:
        self.config.write_text(CONFIG + text)
        return load_config(self.config, overrides)

    def refusal(self, text: str = "", *overrides: str) -> str:
        with pytest.raises(InputError) as caught:
            self.load(text, *overrides)
        return str(caught.value).replace(f"{self.folder}/", "")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    made = Files(tmp_path)
    monkeypatch.setattr(profile_files, "SITE", made.site)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(made.person.parent))
    monkeypatch.setenv("LAUNCHER_PROFILE", "")
    for name in [name for name in os.environ if name.startswith("SBATCH_")]:
        monkeypatch.delenv(name)
    return made


def named(files: Files, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    files.named.write_text(text)
    monkeypatch.setenv("LAUNCHER_PROFILE", str(files.named))


def asked(config: Config) -> dict[str, str | None]:
    """What sbatch is asked for, but for what the template has."""
    options = asked_options(config, SlurmExecutor().resources(config))
    return {name: value for name, value in options.items() if name != "ntasks"}


# --- which one counts


def test_the_nearest_says_what_holds(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.site.write_text("slurm: {account: site, qos: site, partition: site, time: 10, comment: site}")
    files.person.write_text("slurm: {qos: person, partition: person, time: 20, comment: person}")
    named(files, monkeypatch, "slurm: {partition: named, time: 30, comment: named}")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "40")
    config = files.load("slurm: {comment: config, mem: 1G}", "slurm.mem=2G")
    assert asked(config) == {
        "account": "site", "qos": "person", "partition": "named", "time": "0:40:00", "comment": "config", "mem": "2G",
    }  # fmt: skip


def test_a_variable_of_sbatch_wins_over_profiles_and_not_over_the_config(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.site.write_text("slurm: {account: site, mem: 4G, gpus_per_task: 2}")
    monkeypatch.setenv("SBATCH_ACCOUNT", "shell")
    monkeypatch.setenv("SBATCH_MEM_PER_CPU", "1G")
    monkeypatch.setenv("SBATCH_GRES", "gpu:1")
    assert asked(files.load()) == {"account": "shell", "mem-per-cpu": "1G", "gres": "gpu:1"}
    own = asked(files.load("slurm: {account: own, mem: 8G, gpus_per_task: 4}"))
    assert own == {"account": "own", "mem": "8G", "gpus-per-task": "4"}


def test_mappings_are_merged_by_key_and_lists_are_not(files: Files) -> None:
    files.site.write_text(
        "retry: {attempts: 5, max_time: 60}\nslurm: {exclude: [n1, n2], finalize: {partition: io, mem: 4G}}"
    )
    config = files.load("retry: {attempts: 2}\nslurm: {exclude: [n3], finalize: {mem: 8G}}")
    assert (config.retry.attempts, config.retry.max_time) == (2, "1:00:00")
    assert config.slurm.options == {"exclude": ["n3"]}
    assert config.slurm.finalize == {"partition": "io", "mem": "8G"}


def test_of_options_that_cannot_stand_side_by_side_the_nearest_stays(files: Files) -> None:
    files.site.write_text("slurm: {mem: 4G, gpus_per_task: 2}")
    files.person.write_text("slurm: {mem-per-cpu: 1G}")
    assert asked(files.load()) == {"gpus-per-task": "2", "mem-per-cpu": "1G"}
    assert asked(files.load("slurm: {mem_per_gpu: 3G, gres: 'gpu:a100:1'}")) == {
        "mem-per-gpu": "3G",
        "gres": "gpu:a100:1",
    }


def test_what_gres_asks_for_beside_gpus_stays(files: Files) -> None:
    files.site.write_text("slurm: {gres: 'gpu:1,nvme:1'}")
    assert asked(files.load("slurm: {gpus: 2}")) == {"gres": "nvme:1", "gpus": "2"}
    assert asked(files.load("slurm: {gpus_per_task: 2}")) == {"gres": "nvme:1", "gpus-per-task": "2"}


def test_null_undoes_what_a_profile_says(files: Files) -> None:
    files.site.write_text(
        "executor: local\nslurm: {partition: p, mem-per-cpu: 1G, array_parallelism: 9, template: gpu}"
    )
    text = "executor: null\nslurm: {partition: null, mem_per_cpu: null, array_parallelism: null}"
    config = files.load(text, "slurm.template=null")
    assert (config.executor, config.slurm.array_parallelism, config.slurm.template) == ("auto", 256, "cpu")
    assert config.slurm.options == {}
    assert config.profiles == {}


def test_null_in_a_nearer_profile_undoes_it_too(files: Files) -> None:
    files.site.write_text("slurm: {partition: p, finalize: {partition: io, mem: 4G}}")
    files.person.write_text("slurm: {partition: null, finalize: {partition: null}}")
    config = files.load()
    assert config.slurm.options == {}
    assert config.slurm.finalize == {"partition": None, "mem": "4G"}


def test_a_section_whose_keys_are_all_commented_out_says_nothing(files: Files) -> None:
    files.site.write_text("slurm: {partition: p}\nretry:\n  # attempts: 3\n")
    files.person.write_text("slurm:\n  # partition: q\n")
    assert files.load("slurm:\n  # partition: r\n").slurm.options == {"partition": "p"}


def test_without_profiles_nothing_changes(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files.load()
    files.site.write_text("node: {workers: 7}")
    assert files.load().node.workers == 7
    monkeypatch.setenv("LAUNCHER_PROFILE", "/dev/null")
    assert files.load().to_mapping() == before.to_mapping()


# --- paths


def test_paths_are_relative_to_the_profile_and_know_variables(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    named(files, monkeypatch, "runs: $SCRATCH/runs\nslurm: {template: own.sbatch}")
    (files.named.parent / "own.sbatch").write_text("#!/bin/bash\n")
    config = files.load()
    assert str(config.run_folder) == "/scratch/me/runs/x"
    assert run_folder_of(files.config) == config.run_folder
    assert config.template_path == files.named.parent / "own.sbatch"
    assert files.load("runs: mine\nslurm: {template: gpu}").run_folder == files.folder / "mine" / "x"


def test_a_run_is_found_by_its_config_where_the_profile_puts_it(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    named(files, monkeypatch, f"runs: {files.folder}/elsewhere")
    config = write_config(files.folder / "toy")
    done = in_process(config.parent, "plan", config.name, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == f"{files.folder}/elsewhere/toy"
    assert json.loads(in_process(config.parent, "status", config.name, "--json").stdout)["state"] == "planned"
    for arguments in (["status"], ["status", "toy"], ["list"]):
        assert "planned" in in_process(config.parent, *arguments).stdout, arguments
    assert in_process(config.parent, "status", "tyo").returncode == 2


# --- what is wrong with one


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nname: y", "2: name: cannot stand in a profile"),
        ("job: {params: {a: 1}}", "1: job: cannot stand in a profile"),
        ("data:\n  shards: 3", "1: data: cannot stand in a profile"),
        ("node:\n  batch_size: 3", "2: node.batch_size: cannot stand in a profile"),
        ("output: {path: a.h5}", "1: output: cannot stand in a profile"),
        ("slurm:\n  mem: much", "2: slurm.mem: must be a size such as"),
        ("slrum:\n  partition: p", "2: slrum: unknown key. Did you mean slurm?"),
        ("slurm:\n  partion: p", "2: slurm.partion: unknown key. Did you mean slurm.partition?"),
        ("slurm:\n  cpus-per-task: 1", "2: slurm.cpus_per_task: 1 is too few"),
        ("node: {workers: two}", "1: node.workers: must be a whole number"),
        ("retry: 3", "1: retry: must be a mapping"),
        ("slurm: {template: nowhere.sbatch}", "1: slurm.template: no such file: "),
        ("runs: $NOWHERE_AT_ALL/x", "1: runs: the variable NOWHERE_AT_ALL of '$NOWHERE_AT_ALL/x' is not set"),
        ("a: b: c", "1: not valid YAML"),
        ("- a", "1: must be a mapping"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_the_file_and_line_of_the_profile(files: Files, text: str, message: str) -> None:
    files.person.write_text(text)
    assert files.refusal().startswith(f"home/launcher.yaml:{message}")


def test_mistakes_of_the_config_and_of_a_command_keep_their_places(files: Files) -> None:
    files.site.write_text("node:\n  worker: 2")
    assert [line.partition(": ")[0] for line in files.refusal("retry: {attempts: 0}", "node.wrokers=3").split("\n")] == [
        "etc/launcher.yaml:2", "config.yaml:4", "--set node.wrokers=3",
    ]  # fmt: skip


def test_what_cannot_be_trusted_or_read_is_refused(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.person.write_text("node: {workers: 1}")
    files.person.chmod(0o666)
    assert files.refusal().startswith("home/launcher.yaml: everybody may write this profile")
    files.person.chmod(0o664)  # a group of one's own is common
    assert files.load().node.workers == 1
    files.person.unlink()
    files.person.mkdir()
    assert files.refusal().startswith("home/launcher.yaml: this profile is no file")
    files.person.rmdir()
    os.mkfifo(files.person)  # nobody waits for what is never written
    assert files.refusal().startswith("home/launcher.yaml: this profile is no file")
    files.person.unlink()
    files.person.write_bytes(b"node: {workers: 1}\nruns: \xff")
    assert files.refusal().startswith("home/launcher.yaml:2: not UTF-8 text")
    files.person.unlink()
    files.person.symlink_to("nowhere")
    assert files.refusal().startswith("home/launcher.yaml: this profile cannot be read: No such file or directory")
    files.person.unlink()
    monkeypatch.setenv("LAUNCHER_PROFILE", f"{files.folder}/lab/none.yaml")
    refusal = files.refusal()
    assert refusal.startswith("lab/none.yaml: this profile cannot be read: No such file or directory")
    assert refusal.endswith("go on without any profile: LAUNCHER_PROFILE=/dev/null")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_profile_of_another_user_counts_only_where_it_is_named(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.person.write_text("node: {workers: 1}")
    os.chown(files.person, 12345, -1)
    assert files.refusal().startswith("home/launcher.yaml: this profile is another user's")
    named(files, monkeypatch, "node: {workers: 3}")
    os.chown(files.named, 12345, -1)
    files.person.unlink()
    assert files.load().node.workers == 3


def test_a_profile_with_a_mistake_is_bad_input_without_a_traceback(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    named(files, monkeypatch, "slurm: {partion: p}")
    done = in_process(files.folder, "plan", write_config(files.folder / "toy"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert f"{files.named}:1: slurm.partion: unknown key" in done.stderr


# --- what a run keeps


def test_a_planned_run_goes_on_with_what_the_profiles_said(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    files.person.write_text("slurm: {account: mine, partition: cpu}\nnode: {memory: 3G}\nretry: {attempts: 4}")
    path = write_config(files.folder / "toy", executor="slurm")
    monkeypatch.setattr("launcher.slurm.scheduler.is_here", lambda: False)
    planned = make_plan(load_config(path))
    made = record(planned.run, load_config(path), planned.plan.table.rows_of(range(4)))
    files.person.write_text("slurm: {account: theirs, qos: theirs}\nretry: {attempts: 1}")
    known = Plan.read(planned.run.plan)
    config = current_config(planned.run, known, ["slurm.partition=gpu"])
    assert asked(config) == {"account": "mine", "partition": "gpu"}
    assert (config.retry.attempts, config.node.memory) == (4, "3G")
    # What a shell was told still wins over profiles, as it did at first, and not over --set.
    monkeypatch.setenv("SBATCH_ACCOUNT", "shell")
    monkeypatch.setenv("SBATCH_PARTITION", "shell")
    assert asked(config) == {"account": "shell", "partition": "gpu"}
    told = Submission.read(planned.run.submission(made.number)).resources.profiles
    assert told == {
        "slurm.account": f"{files.person}:1", "slurm.partition": f"{files.person}:1", "node.memory": f"{files.person}:2",
        "retry.attempts": f"{files.person}:3",
    }  # fmt: skip


def test_the_config_that_a_run_keeps_is_whole(files: Files) -> None:
    files.site.write_text("slurm: {account: then}")
    path = write_config(files.folder / "toy")
    run = make_plan(load_config(path)).run
    files.site.write_text("slurm: {account: now, qos: now}")
    frozen = load_config(run.config)
    assert frozen.slurm.options == {"account": "then"}
    assert not make_plan(frozen).is_new
    assert "planned from" in run.config.read_text().splitlines()[0]
    assert str(files.site) in run.config.read_text().splitlines()[1]


def test_no_profile_changes_what_decides_a_result(files: Files) -> None:
    path = write_config(files.folder / "toy")
    before = make_plan(load_config(path)).plan.fingerprint
    files.site.write_text("node: {workers: 0, processes: 2}\nslurm: {tasks: 3}\nlocal: {parallelism: 3}")
    planned = make_plan(load_config(path))
    assert (planned.is_new, planned.plan.fingerprint) == (False, before)


def test_plan_says_which_profiles_hold(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    named(files, monkeypatch, "node: {workers: 0}\nretry: {attempts: 2}")
    path = write_config(files.folder / "toy")
    done = in_process(path.parent, "plan", path.name)
    assert f"profile: {files.named}: retry.attempts\n" in done.stdout
    assert json.loads(in_process(path.parent, "plan", path.name, "--json").stdout)["profiles"] == {
        "retry.attempts": f"{files.named}:2"
    }
    assert run_of(path).plan.is_file()


# --- merging, of anything

_KEYS = st.sampled_from(["a", "b", "mem", "mem_per_cpu", "gres", "gpus"])
_VALUES = st.one_of(
    st.none(), st.integers(), st.sampled_from(["1", "gpu:1", "x:1"]), st.lists(st.integers(), max_size=2)
)
_DATA = st.dictionaries(
    st.sampled_from(["slurm", "node", "runs"]),
    st.one_of(_VALUES, st.dictionaries(_KEYS, _VALUES, max_size=4)),
    max_size=3,
)
_SETTINGS = st.dictionaries(
    st.tuples(st.sampled_from(["slurm", "node"]), _KEYS), _VALUES.filter(lambda value: value is not None), max_size=6
)


@given(_DATA, _SETTINGS)
def test_what_a_config_says_stays_and_only_silence_is_filled(data: dict[str, Any], settings: dict[Any, Any]) -> None:
    before = json.dumps(data)
    merged, origins = put_below(data, {path: Setting(value, "f:1") for path, value in settings.items()})
    assert json.dumps(data) == before
    for section, value in data.items():
        if not isinstance(value, dict):
            assert merged[section] == value or (value is None and any(path[0] == section for path in origins))
            continue
        for key, own in value.items():
            assert merged[section].get(key) == own
    for path in origins:
        assert merged[str(path[0])][path[1]] == settings[path]
    if not settings:
        assert merged == data


def test_a_config_of_a_run_knows_its_profiles_again(files: Files) -> None:
    files.site.write_text("slurm: {mem: 4G, finalize: {mem: 2G}}")
    config = files.load()
    again = config_from_mapping(config.to_mapping(), config.path, profiles=config.profiles)
    assert (again, again.profiles, again.own_options) == (config, config.profiles, {})
