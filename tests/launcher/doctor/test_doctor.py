"""doctor: what is in force and from where, what is here, what is missing for what; also where nothing answers."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from launcher.config.config import load_config
from launcher.doctor import examination
from launcher.doctor.examination import examine
from launcher.doctor.file_system import examine_folder, kind_of
from launcher.executors import Finding
from launcher.slurm.examination import Answers, _partitions
from tests.launcher.test_imports import loaded
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import document, launcher, write_config
from tests.support.slurm_fixtures import BringUp
from tests.support.slurm_runs import use_cluster


@pytest.fixture
def without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def commands(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Commands of a Slurm that is not there, first on PATH."""
    (folder / "bin").mkdir()
    for name in ("sbatch", "scontrol", "sinfo", "sacct", "sacctmgr"):
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{scripts.get(name, 'exit 1')}\n")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


def found(folder: Path, *arguments: object) -> dict[str, Any]:
    done = launcher(folder, "doctor", *arguments, "--json")
    assert done.returncode in (0, 1), done.stderr
    told = dict(document(done))
    assert told["ok"] is (done.returncode == 0)
    return told


def named(told: dict[str, Any], section: str) -> dict[str, dict[str, Any]]:
    found = next(findings for title, findings in told["found"].items() if title.endswith(section))
    return {one["name"]: one for one in found}


# --- settings


def test_what_is_chosen_is_told_with_its_place(
    tmp_path: Path, without_slurm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "lab.yaml"
    profile.write_text("slurm:\n  mem-per-cpu: 2G\n  finalize: {mem-per-cpu: 1G}\nnotify: https://a.org/secret\n")
    monkeypatch.setenv("LAUNCHER_PROFILE", str(profile))
    config = write_config(tmp_path, 8)
    told = found(tmp_path, config.name, "--set", "retry.attempts=5", "--set", "node.workers=2")
    settings = {one["key"]: (one["value"], one["origin"]) for one in told["settings"]}
    assert settings["slurm.mem_per_cpu"] == ("2G", f"{profile}:2")
    assert settings["slurm.finalize.mem_per_cpu"] == ("1G", f"{profile}:3")
    assert settings["notify"] == ("a.org ...", f"{profile}:4")
    assert settings["retry.attempts"] == (5, "--set retry.attempts=5")
    assert settings["node.batch_size"] == (8, "config.yaml:1")
    assert "node.workers" not in settings  # that is the default
    assert told["profiles"] == [str(profile)]


def test_without_a_config_what_profiles_say_is_examined(
    tmp_path: Path, without_slurm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUNCHER_PROFILE", str(tmp_path / "lab.yaml"))
    (tmp_path / "lab.yaml").write_text("runs: elsewhere\n")
    told = found(tmp_path)
    assert told["settings"] == [{"key": "runs", "value": f"{tmp_path}/elsewhere", "origin": f"{tmp_path}/lab.yaml:1"}]
    assert named(told, "runs")["folder"]["text"] == f"{tmp_path}/elsewhere (not there yet; {tmp_path} is)"


def test_a_config_with_a_mistake_is_bad_input(tmp_path: Path) -> None:
    config = write_config(tmp_path, node={"wokers": 2})
    done = launcher(tmp_path, "doctor", config)
    assert (done.returncode, "unknown key. Did you mean node.workers" in done.stderr) == (2, True)


# --- this machine


def test_without_slurm_it_says_so_and_that_runs_are_local(tmp_path: Path, without_slurm: None) -> None:
    done = launcher(tmp_path, "doctor")
    assert done.returncode == 0, done.stdout
    assert "Slurm           sbatch is not on PATH here: runs are those of this machine" in done.stdout.replace(
        "\n" + 18 * " ", " "
    )
    assert "nothing that is needed is missing" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines() if "/" not in line) <= 80  # a path is not broken
    assert list(tmp_path.iterdir()) == [tmp_path / "bin"]


def test_it_imports_nothing_heavy(tmp_path: Path, without_slurm: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert loaded("doctor") & {"torch", "pandas"} == set()


def test_versions_and_devices_are_told(tmp_path: Path, without_slurm: None) -> None:
    machine = named(found(tmp_path), "machine")
    assert "numpy" in machine["packages"]["text"]
    assert "CPU" in machine["usable"]["text"]
    assert {"host", "python", "launcher", "torch", "/dev/shm", "open files"} <= machine.keys()


def test_devices_that_are_not_here_are_needed(tmp_path: Path, without_slurm: None) -> None:
    config = write_config(tmp_path, node={"devices": ["cuda:7"]})
    done = launcher(tmp_path, "doctor", config.name)
    if "no GPU" in done.stdout:
        assert done.returncode == 1
        assert "! " in done.stdout
        assert "missing, and needed: lines with !" in done.stdout


# --- the folder of runs


def test_the_kind_of_a_file_system_is_the_last_mounts_that_covers_it(tmp_path: Path) -> None:
    assert kind_of(Path("/proc/self")) == "proc"
    assert kind_of(Path("/dev/shm")) == "tmpfs"
    assert kind_of(tmp_path)


def test_a_folder_of_this_machine_alone_is_pointed_out_where_others_have_to_see_it() -> None:
    folder = Path("/dev/shm")
    assert [one for one in examine_folder(folder, is_shared=False) if one.name == "file system" and one.lacks] == []
    (told,) = [one for one in examine_folder(folder, is_shared=True) if one.name == "file system"]
    assert "as a rule no other machine sees tmpfs" in told.lacks


def test_a_folder_that_cannot_hold_a_run_is_needed() -> None:
    *_, last = examine_folder(Path("/proc/self/runs"), is_shared=False)
    assert (last.name, last.is_needed) == ("a run", True)


def test_a_file_server_that_is_dead_is_told_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> list[Finding]:
        time.sleep(600)
        return []

    monkeypatch.setattr(examination, "_SECONDS", 0.2)
    monkeypatch.setattr(examination, "examine_folder", never)
    told = examine(load_config(write_config(tmp_path)))
    (finding,) = told.sections["runs"]
    assert (finding.lacks, told.is_well) == ("no answer within 0 s: a file server that is dead?", False)


# --- Slurm


def test_a_slurm_that_never_answers_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands(tmp_path, monkeypatch, scontrol="exec sleep 600", sinfo="exec sleep 600", sacct="exec sleep 600")
    monkeypatch.setattr("launcher.slurm.examination._SECONDS", 0.5)
    told = examine(load_config(write_config(tmp_path / "run", executor="slurm")))
    (finding,) = told.sections["Slurm"]
    assert finding.is_needed
    assert "did not answer within" in finding.lacks


def test_slurm_asked_for_where_there_is_none_is_needed(tmp_path: Path, without_slurm: None) -> None:
    config = write_config(tmp_path, executor="slurm")
    done = launcher(tmp_path, "doctor", config.name)
    assert done.returncode == 1
    assert "scontrol is not on this machine's PATH" in " ".join(done.stdout.split())


_CONFIG = """
ClusterName = old
SLURM_VERSION = 20.11.9
MaxArraySize = 0
MaxJobCount = 10000
AccountingStorageType = accounting_storage/none
MinJobAge = 30 sec
TaskPlugin = affinity
GresTypes = gpu
KillWait = 5 sec
OverTimeLimit = 10 min
PreemptType = preempt/none
PrivateData = jobs,users
"""


def test_what_a_site_lacks_is_told_with_what_happens_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = "*federation*) echo 'Federation: all'"
    partitions = "PartitionName=a Default=NO MaxTime=1-00:00:00 DefaultTime=00:10:00 PreemptMode=OFF"
    commands(
        tmp_path, monkeypatch,
        scontrol=f"case \"$*\" in *partition*) echo '{partitions}';; {federation};; *) cat <<'E'\n{_CONFIG}\nE\n;; esac",
        sinfo="echo 'a|3|8|16000+|(null)|idle'",
        sbatch="echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1",
        sacct="echo 'Slurm accounting storage is disabled' >&2; exit 1",
        setpriv="exit 1",
    )  # fmt: skip
    told = {
        one.name: one
        for one in examine(load_config(write_config(tmp_path / "run", executor="slurm"))).sections["Slurm"]
    }
    assert told["cluster"].text == "old, Slurm 20.11.9, answers"
    assert told["arrays"].lacks == "no job arrays here (MaxArraySize): each array task is a Slurm job of its own"
    assert told["partition a"].text == "3 nodes of 8 CPUs, 15.6G; time 1-00:00:00 (else 00:10:00)"
    assert told["partition"].is_needed  # no default one, and none is asked for
    assert (told["accounting"].text, "forgets a job 30 sec after its end" in told["accounting"].lacks) == ("none", True)
    assert (told["memory"].text, bool(told["memory"].lacks)) == ("not bound by cgroups", True)
    assert (told["CPUs"].text, told["GPUs"].text) == ("bound by Slurm", "those of others are hidden by variables alone")
    assert told["at the end"].text == "SIGKILL comes 5 sec after SIGTERM, 10 min after the time limit; JobRequeue=?"
    assert "slurm.grace: 20 s" in told["at the end"].lacks
    assert told["federation"].text == "all: all of a run stays on old"
    assert "only that user can tell" in told["PrivateData"].lacks
    assert told["a job"].is_needed
    assert "Invalid account" in told["a job"].lacks


def test_a_plugin_that_refuses_arrays_leaves_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = "echo 'sbatch: error: No job arrays here' >&2; exit 1"
    commands(
        tmp_path, monkeypatch,
        scontrol="echo 'MaxArraySize = 1001'", sbatch=f'grep -q "^#SBATCH --array" "$2" && {{ {refuse}; }}; exit 0',
    )  # fmt: skip
    examined = examine(load_config(write_config(tmp_path / "run", executor="slurm")))
    told = {one.name: one for one in examined.sections["Slurm"]}["an array"]
    assert (told.is_needed, "No job arrays here; so each array task is a Slurm job of its own" in told.lacks) == (
        False,
        True,
    )


def slurm_findings(folder: Path, **slurm: Any) -> dict[str, Finding]:
    examined = examine(load_config(write_config(folder / "run", executor="slurm", slurm=slurm)))
    return {one.name: one for one in examined.sections["Slurm"]}


def test_what_slurm_does_not_take_at_the_moment_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = "Batch job submission failed: AssocMaxSubmitJobLimit"
    commands(tmp_path, monkeypatch, scontrol="true", sbatch=f"echo 'sbatch: error: {limit}' >&2; exit 1")
    told = slurm_findings(tmp_path)
    for name in ("an array", "finalize job"):
        assert told[name].text.startswith("sbatch would take it")


def test_a_controller_that_does_not_answer_refuses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = "Batch job submission failed: Unable to contact slurm controller (connect failure)"
    commands(tmp_path, monkeypatch, scontrol="true", sbatch=f"echo 'sbatch: error: {silent}' >&2; exit 1")
    told = slurm_findings(tmp_path)
    for name in ("an array", "finalize job"):
        assert (told[name].text, told[name].is_needed) == ("not tried", False)


def test_the_finalize_job_is_tried_with_what_it_asks_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = "echo 'sbatch: error: CPU count per node can not be satisfied' >&2; exit 1"
    commands(
        tmp_path, monkeypatch, scontrol="true", sbatch=f'grep -q "cpus-per-task=64" "$2" && {{ {refuse}; }}; exit 0'
    )
    told = slurm_findings(tmp_path, finalize={"cpus_per_task": 64})
    assert "CPU count per node" in told["finalize job"].lacks
    assert told["an array"].text.startswith("sbatch would take it")


@pytest.mark.parametrize(
    ("fields", "problem", "is_needed"),
    [
        ("State=DOWN AllocNodes=ALL", "it is DOWN", False),
        ("State=UP AllocNodes=login[1-2]", "may be submitted on login[1-2] alone", False),
        ("State=UP AllocNodes=ALL", None, False),
    ],
)
def test_a_partition_that_is_asked_for_is_looked_at(fields: str, problem: str | None, is_needed: bool) -> None:
    answers = Answers({"partitions": f"PartitionName=p {fields}\nPartitionName=q Default=YES State=UP"}, {})
    lacking = [one for one in _partitions(answers, {"partition": "p"}) if one.lacks]
    assert [one.is_needed for one in lacking] == ([is_needed] if problem else [])
    assert problem is None or problem in lacking[0].lacks
    (unknown,) = [one for one in _partitions(answers, {"partition": "r"}) if one.lacks]
    assert unknown.is_needed
    assert unknown.lacks.endswith("there are: p, q")


@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_a_real_slurm_is_described_and_asked_whether_it_would_take_an_array(
    clean_slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_cluster(clean_slurm, monkeypatch)
    monkeypatch.setenv("SBATCH_QOS", "normal")
    config = write_config(tmp_path, executor="slurm", slurm={"partition": "main", "mem": "1G"})
    told = found(tmp_path, config.name)
    slurm = named(told, "Slurm")
    assert told["ok"]
    assert slurm["cluster"]["text"].startswith("test, Slurm ")
    assert slurm["partition main*"]["text"].startswith(
        "4 nodes of 8 CPUs, 5.9G, gpu:2; time unlimited, preempted by REQUEUE"
    )
    assert slurm["accounting"]["text"] == "slurmdbd, answers"
    assert "sbatch would take it" in slurm["an array"]["text"]
    assert "qos=normal" in slurm["an array"]["text"]
    assert clean_slurm.run("squeue", "-h") == ""
    done = launcher(tmp_path, "doctor", config.name, "--set", "slurm.account=nobodys")
    assert done.returncode == 1
    assert "sbatch refuses it" in done.stdout


@pytest.mark.slurm
@pytest.mark.xdist_group("sites")
def test_a_site_without_accounting_is_told_what_happens_instead(site: BringUp, tmp_path: Path) -> None:
    site("no-accounting")
    slurm = named(found(tmp_path, "--set", "executor=slurm"), "Slurm")
    assert slurm["accounting"]["text"] == "none"
    assert "read from its journal" in slurm["accounting"]["lacks"]
    assert "your account" not in slurm


def test_the_document_is_one_of_json(tmp_path: Path, without_slurm: None) -> None:
    told = found(tmp_path)
    assert json.loads(json.dumps(told)) == told
    assert {"version", "ok", "settings", "profiles", "found", "missing"} <= told.keys()
