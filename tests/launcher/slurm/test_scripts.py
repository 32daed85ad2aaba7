"""The sbatch scripts of a run: what is computed, what the config asks for, what does not go together."""

import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InputError
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage import checked_json
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Resources, Submission
from launcher.config.config import Config, load_config
from launcher.plan.plan import make_plan
from launcher.slurm.scripts import IGNORES_WARNING, array_script, finalize_script, job_name
from launcher.slurm.slurm_executor import SlurmExecutor
from launcher.slurm.template import Template
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import ROOT, wait_until, write_config
from tests.support.patience import PATIENCE

TEMPLATES = sorted(path.stem for path in (ROOT / "slurm_templates").glob("*.sbatch"))


def planned(folder: Path, **sections: Any) -> tuple[RunDir, Config]:
    config = load_config(write_config(folder, executor="slurm", **sections))
    return make_plan(config).run, config


def submission(count: int = 4, **resources: Any) -> Submission:
    ranges = tuple((task, task + 1) for task in range(count))
    return Submission(7, "slurm", 0.0, count, Spans(ranges), ranges, NodeSettings(), Resources(**resources))


def started(number: int, job_id: str, **resources: Any) -> Submission:
    return replace(submission(**resources), number=number, job_ids=(job_id,))


def array_options(folder: Path, made: Submission | None = None, **sections: Any) -> dict[str, str | None]:
    run, config = planned(folder, **sections)
    return Template(array_script(run, config, made or submission()), "script").options


def site(folder: Path, *lines: str) -> dict[str, Any]:
    """A slurm section with a site's own template."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "site.sbatch").write_text("\n".join(["#!/bin/bash", *lines, ""]))
    return {"template": "./site.sbatch"}


def refusal(folder: Path, **sections: Any) -> str:
    with pytest.raises(InputError) as refused:
        array_options(folder, **sections)
    return str(refused.value)


def test_the_array_is_numbered_from_0_and_writes_below_the_run(tmp_path: Path) -> None:
    run, config = planned(tmp_path)
    options = Template(array_script(run, config, submission(2500)), "script").options
    assert options["array"] == "0-2499%256"
    assert options["output"] == str(run.submissions / "0007.log")
    assert options["job-name"] == job_name(run, 7)
    assert (options["open-mode"], options["requeue"], options["ntasks"]) == ("append", None, "1")


def test_options_that_look_like_numbers_are_written_as_the_config_has_them(tmp_path: Path) -> None:
    written = ["slurm.account=0012", "slurm.partition=1.10", "slurm.constraint=1e3"]
    config = load_config(write_config(tmp_path, executor="slurm"), written)
    options = Template(array_script(make_plan(config).run, config, submission()), "script").options
    assert (options["account"], options["partition"], options["constraint"]) == ("0012", "1.10", "1e3")


def test_a_script_for_10000_scattered_shards_is_short(tmp_path: Path) -> None:
    run, config = planned(tmp_path)
    scattered = replace(submission(10000), rows=Spans.of_numbers(3 * number for number in range(10000)))
    text = array_script(run, config, scattered)
    assert Template(text, "script").options["array"] == "0-9999%256"
    assert len(text) < 2000


def test_cpus_are_processes_times_workers(tmp_path: Path) -> None:
    node = {"processes": 2, "workers": 3}
    assert array_options(tmp_path, node=node)["cpus-per-task"] == "6"
    assert array_options(tmp_path, node={"processes": 2, "workers": 0})["cpus-per-task"] == "2"
    assert array_options(tmp_path, node=node, slurm={"cpus_per_task": 9})["cpus-per-task"] == "9"


@pytest.mark.parametrize(
    ("asked", "cpus"),
    [
        ({"gpus_per_task": 2}, "8"),
        ({"gres": "gpu:a100:2,lscratch:10"}, "8"),
        ({"gpus_per_node": 3}, "12"),
        ({"template": "gpu"}, "4"),
        ({"template": "gpu", "gpus_per_task": 2}, "8"),
        ({"template": "cpu"}, "4"),
    ],
)
def test_there_is_a_process_for_each_gpu_asked_for_and_cpus_for_each_process(
    tmp_path: Path, asked: dict[str, Any], cpus: str
) -> None:
    assert array_options(tmp_path, node={"workers": 4}, slurm=asked)["cpus-per-task"] == cpus


def test_gpus_of_a_sites_own_script_are_counted_too(tmp_path: Path) -> None:
    slurm = site(tmp_path, "#SBATCH --gres=gpu:4")
    assert array_options(tmp_path, node={"workers": 2}, slurm=slurm)["cpus-per-task"] == "8"


def test_cpus_that_a_sites_own_script_asks_for_are_kept_if_they_are_enough(tmp_path: Path) -> None:
    for line in ("--cpus-per-task=12", "-c 12", "--cpus-per-gpu=6 --gpus=2"):
        slurm = site(tmp_path, f"#SBATCH {line}")
        assert array_options(tmp_path, node={"workers": 2}, slurm=slurm)["cpus-per-task"] == "12"
    few = refusal(tmp_path, node={"workers": 2, "processes": 2}, slurm=site(tmp_path, "#SBATCH --cpus-per-task=3"))
    assert "--cpus-per-task=3 is too few: 2 processes x 2 workers need 4" in few


def test_the_config_wins_over_the_template_and_a_retry_over_both(tmp_path: Path) -> None:
    slurm = {
        **site(tmp_path, "#SBATCH --mem=1G --time=10 --partition=short --exclusive"),
        "mem": "2G",
        "exclusive": False,
    }
    options = array_options(tmp_path, slurm=slurm)
    assert (options["mem"], options["time"], options["partition"]) == ("2G", "10", "short")
    assert "exclusive" not in options
    assert array_options(tmp_path, submission(options={"mem": "3G", "exclude": "n1"}), slurm=slurm)["mem"] == "3G"
    per_cpu = {**site(tmp_path, "#SBATCH --mem=1G"), "mem_per_cpu": "500M"}
    assert "mem" not in array_options(tmp_path, slurm=per_cpu)


def test_what_the_launcher_computes_wins_over_a_sites_array_script(tmp_path: Path) -> None:
    slurm = site(tmp_path, "#SBATCH --array=1-100 --output=%A_%a.out --job-name=mine --no-requeue --signal=USR1@5")
    options = array_options(tmp_path, slurm=slurm)
    assert options["array"] == "0-3%256"
    assert options["signal"] == "B:USR2@60"
    assert "no-requeue" not in options


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--ntasks=8", "site.sbatch:3: --ntasks=8: an array task is one process tree; set node.processes"),
        ("-n 8", "site.sbatch:3: --ntasks=8"),
        ("--tasks-per-node=4", "site.sbatch:3: --ntasks-per-node=4"),
        ("--ntasks-per-gpu=2", "site.sbatch:3: --ntasks-per-gpu=2"),
        ("--nodes=2", "site.sbatch:3: --nodes=2: set slurm.nodes_per_task"),
        ("-N 2-4", "site.sbatch:3: --nodes=2-4: set slurm.nodes_per_task"),
    ],
)
def test_more_tasks_or_nodes_are_refused_with_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    assert message in refusal(tmp_path, slurm=site(tmp_path, "# ours", f"#SBATCH {line}"))


def test_more_tasks_in_the_config_are_refused_with_the_key(tmp_path: Path) -> None:
    assert "config.yaml:1: slurm.ntasks: --ntasks=8" in refusal(tmp_path, slurm={"ntasks": 8})
    other_name = refusal(tmp_path, slurm={"tasks_per_node": 4})
    assert "config.yaml:1: slurm.ntasks_per_node: --ntasks-per-node=4" in other_name


def test_several_nodes_are_one_srun_task_each(tmp_path: Path) -> None:
    run, config = planned(tmp_path, slurm={**site(tmp_path, "#SBATCH --nodes=2 --ntasks=2"), "nodes_per_task": 2})
    text = array_script(run, config, submission())
    options = Template(text, "script").options
    assert (options["nodes"], options["ntasks-per-node"], options.get("ntasks")) == ("2", "1", None)
    assert options["signal"] == "USR2@60"
    assert text.splitlines()[-1].startswith(
        "exec srun --kill-on-bad-exit=0 --export=ALL --cpus-per-task=$SLURM_CPUS_PER_TASK "
    )


@pytest.mark.parametrize(
    ("purged", "loaded", "ends"),
    [("", "cuda/12.4", False), ("slurm:cuda/12.4", "slurm:cuda/12.4", False), ("slurm", "slurm", True),
     ("cudatools", "cudatools", True), ("", "gcc", False)],
)  # fmt: skip
def test_a_module_that_is_not_loaded_ends_the_task(purged: str, loaded: str, ends: bool) -> None:
    template = (ROOT / "slurm_templates/modules.sbatch").read_text()
    module = f'module() {{ [ "$1" = purge ] && LOADEDMODULES="{purged}" || LOADEDMODULES="{loaded}"; }}\n'
    done = subprocess.run(["bash", "-c", f"{module}{template}\ntrue"], capture_output=True, text=True, check=False)
    assert (done.returncode, "has loaded nothing" in done.stderr) == ((1, True) if ends else (0, False))


@pytest.mark.parametrize(("time", "warning"), [(None, 60), ("1", 15), ("0:30", 10), ("4:00:00", 60), ("UNLIMITED", 60)])
def test_the_warning_before_the_limit_leaves_time_to_work(tmp_path: Path, time: str | None, warning: int) -> None:
    slurm = site(tmp_path, *([f"#SBATCH --time={time}"] if time else []))
    assert array_options(tmp_path, slurm=slurm)["signal"] == f"B:USR2@{warning}"


def test_the_configs_own_warning_holds_and_a_long_grace_is_given_its_time(tmp_path: Path) -> None:
    assert array_options(tmp_path, slurm={"warning": 600, "time": "20"})["signal"] == "B:USR2@600"
    assert array_options(tmp_path / "long", slurm={"grace": 300})["signal"] == "B:USR2@310"
    assert array_options(tmp_path / "short", slurm={"grace": 300, "time": "4"})["signal"] == "B:USR2@60"
    late = refusal(tmp_path / "late", slurm={**site(tmp_path / "late", "#SBATCH --time=10"), "warning": 600})
    assert "config.yaml:1: slurm.warning: 600 s before the end of 600 s (--time=10) a task has not begun" in late


@pytest.mark.parametrize(("default_time", "warning"), [(60, 15), (86400, 60), (None, 60)])
def test_the_warning_suits_the_limit_that_the_partition_gives(
    tmp_path: Path, default_time: int | None, warning: int
) -> None:
    options = array_options(tmp_path, submission(default_time=default_time))
    assert options["signal"] == f"B:USR2@{warning}"


def test_a_site_that_requeues_nothing_gets_no_request_for_it(tmp_path: Path) -> None:
    run, config = planned(tmp_path, slurm={"requeue": False})
    options = Template(array_script(run, config, submission()), "script").options
    assert ("requeue" in options, "no-requeue" in options) == (False, True)
    assert not SlurmExecutor().resources(config).requeue


SAYS = """\
import os, pathlib, signal
is_ignored = signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
pathlib.Path("said").write_text(f"{is_ignored} {os.environ.get('LAUNCHER_WARNED')}")
"""


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_warning_while_the_script_loads_modules_is_noted_and_ends_nothing(tmp_path: Path, shell: str) -> None:
    slurm = site(tmp_path, "touch begun", "while [ ! -e loaded ]; do sleep 0.05; done", "LAUNCHER_PYTHON=./python")
    run, config = planned(tmp_path, slurm=slurm)
    (tmp_path / "python").write_text(f"#!{sys.executable}\n{SAYS}")
    (tmp_path / "python").chmod(0o755)
    (tmp_path / "script").write_text(array_script(run, config, submission()))
    with subprocess.Popen([shell, "script"], cwd=tmp_path) as task:
        wait_until((tmp_path / "begun").exists)
        task.send_signal(signal.SIGUSR2)
        (tmp_path / "loaded").touch()
        assert task.wait(PATIENCE) == 0
    assert (tmp_path / "said").read_text() == "True 1"


def test_tasks_of_srun_begin_without_a_warning_that_would_end_them(tmp_path: Path) -> None:
    slurm = {**site(tmp_path, "LAUNCHER_PYTHON=./python"), "nodes_per_task": 2}
    run, config = planned(tmp_path, slurm=slurm)
    for name, text in (("python", f"#!{sys.executable}\n{SAYS}"), ("srun", '#!/bin/bash\nshift 3; exec "$@"\n')):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    text = array_script(run, config, submission()).replace(f"\n{IGNORES_WARNING}", "")  # as srun's tasks find it
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_CPUS_PER_TASK": "1"}
    subprocess.run(["bash", "-c", text], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "said").read_text() == "True None"


def test_paths_with_blanks_quotes_and_percent_signs_reach_bash_and_slurm(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s 100% "mine" $HOME'
    run, config = planned(folder)
    text = array_script(run, config, submission())
    assert Template(text, "script").options["output"] == str(run.submissions / "0007.log").replace("%", "%%")
    command = text.splitlines()[-1].replace("exec ", "printf '%s\\n' ", 1)
    words = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
    assert words[1:] == ["-P", "-m", "jobs", str(run.path), "7"]
    assert str(run.path) in shlex.split(finalize_script(run, config, [started(7, "123")]).splitlines()[-1])


@pytest.mark.parametrize(
    ("single_jobs", "arguments", "index"), [(False, ["name"], ""), (True, ["3", "name-3"], " 3"), (True, [], " 0")]
)
def test_what_a_template_sources_sees_no_arguments_of_its_script(
    tmp_path: Path, single_jobs: bool, arguments: list[str], index: str
) -> None:
    (tmp_path / "activate").write_text('echo "activate with $# arguments"\n')
    run, config = planned(tmp_path, slurm=site(tmp_path, f"source {tmp_path}/activate", "LAUNCHER_PYTHON=echo"))
    (tmp_path / "script").write_text(array_script(run, config, submission(single_jobs=single_jobs)))
    said = subprocess.run(["bash", "script", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout == f"activate with 0 arguments\n-P -m jobs {run.path} 7{index}\n"


def test_a_template_may_set_another_python_and_a_prefix(tmp_path: Path) -> None:
    slurm = site(tmp_path, "LAUNCHER_PREFIX=(echo in 'my image')", "LAUNCHER_PYTHON='py thon'")
    run, config = planned(tmp_path, slurm=slurm)
    said = subprocess.run(
        ["bash"], input=array_script(run, config, submission()), capture_output=True, text=True, check=True
    )
    assert said.stdout == f"in my image py thon -P -m jobs {run.path} 7\n"


def test_the_finalize_job_waits_for_all_arrays_and_asks_for_what_concerns_the_account_alone(tmp_path: Path) -> None:
    slurm = {"account": "lab", "partition": "long", "qos": "high", "mem": "90G", "gpus_per_task": 4, "time": "10:00:00"}
    run, config = planned(tmp_path, slurm=slurm)
    options = Template(
        finalize_script(run, config, [started(1, "11"), started(2, "12")]).replace("#SBATCH --kill", "# --kill"), "f"
    ).options
    assert options["dependency"] == "afterany:11:12"
    assert (options["account"], options["partition"], options["qos"]) == ("lab", "long", "high")
    assert (options["mem"], options["cpus-per-task"]) == ("2G", "1")
    assert not any("gpu" in name or name == "gres" for name in options)
    assert "#SBATCH --kill-on-invalid-dep=yes\n" in finalize_script(run, config, [started(1, "11")])


def test_a_finalize_job_shows_itself_before_python_has_started(tmp_path: Path) -> None:
    run, config = planned(tmp_path / "it's 100% mine")
    text = finalize_script(run, config, [started(1, "11"), started(2, "12")])
    assert text.splitlines()[-1].startswith("exec ")
    script = text.replace("\nexec ", "\nexec sleep 60 #")
    with subprocess.Popen(["bash", "-c", script]) as job:
        wait_until(lambda: run.ending(2).exists() and run.ending(2).read_text().endswith("}\n"))
        try:
            for number in (1, 2):
                shown = ProcessIdentity.from_json(checked_json.decode(run.ending(number).read_bytes()))
                assert shown == ProcessIdentity.of(job.pid)
        finally:
            job.kill()


def test_the_finalize_job_goes_where_the_template_and_the_submission_say(tmp_path: Path) -> None:
    slurm = site(tmp_path, "#SBATCH -p high --account=paid", "#SBATCH --mem=300M")
    run, config = planned(tmp_path, slurm=slurm)
    text = finalize_script(run, config, [started(1, "11", options={"qos": "q"})], asks_memory=False)
    options = Template(text.replace("#SBATCH --kill", "# --kill"), "f").options
    assert (options["partition"], options["account"], options["qos"]) == ("high", "paid", "q")
    assert "mem" not in options


def test_the_finalize_job_asks_for_what_its_section_says_and_sends_the_mail(tmp_path: Path) -> None:
    slurm = {"partition": "gpu", "qos": "high", "mail_type": "END", "mail_user": "me@site", "time": "10:00"}
    slurm["finalize"] = {"partition": "cpu", "mem-per-cpu": "8G", "time": "2:00:00", "qos": None}  # type: ignore[assignment]
    run, config = planned(tmp_path, slurm=slurm)
    text = finalize_script(run, config, [started(1, "11")]).replace("#SBATCH --kill", "# --kill")
    options = Template(text, "f").options
    assert (options["partition"], options["mem-per-cpu"], options["time"]) == ("cpu", "8G", "2:00:00")
    assert (options["mail-type"], options["mail-user"]) == ("END", "me@site")
    assert not {"qos", "mem"} & options.keys()
    assert "mail-type" not in array_options(tmp_path, slurm=slurm)


def test_mail_of_a_begin_is_the_first_arrays_and_all_other_the_finalize_jobs(tmp_path: Path) -> None:
    slurm = {"mail_type": "all", "mail_user": "me@site"}
    run, config = planned(tmp_path, slurm=slurm)
    text = finalize_script(run, config, [started(1, "11")]).replace("#SBATCH --kill", "# --kill")
    options = Template(text, "f").options
    assert (options["mail-type"], options["mail-user"]) == ("END,FAIL,INVALID_DEPEND,REQUEUE,STAGE_OUT", "me@site")
    first = array_options(tmp_path, slurm=slurm)
    assert (first["mail-type"], first["mail-user"]) == ("BEGIN", "me@site")
    retry = array_script(run, config, submission(attempt=2))
    assert "--mail" not in retry


def test_a_folder_whose_name_has_a_backslash_is_refused(tmp_path: Path) -> None:
    run, config = planned(tmp_path / "back\\slash")
    with pytest.raises(InputError, match="a backslash; rename it"):
        array_script(run, config, submission())


def test_variables_of_sbatch_count_where_the_config_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "high")
    monkeypatch.setenv("SBATCH_ACCOUNT", "0012")
    monkeypatch.setenv("SBATCH_MEM_PER_CPU", "1G")
    monkeypatch.setenv("SBATCH_ARRAY_INX", "0-3")
    slurm = {**site(tmp_path, "#SBATCH -p low"), "account": "mine", "mem": "3G"}
    _, config = planned(tmp_path, slurm=slurm)
    made = submission(options=SlurmExecutor().resources(config).options)
    options = array_options(tmp_path, made, slurm=slurm)
    assert (options["partition"], options["account"], options["mem"]) == ("high", "mine", "3G")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "soon")
    with pytest.raises(InputError, match="SBATCH_TIMELIMIT=soon: "):
        SlurmExecutor().resources(config)


@pytest.mark.parametrize(
    ("slurm", "found"),
    [
        ({}, {"gres": "gpu:2,lscratch:9", "mem": "4G", "export": "NONE"}),
        ({"gpus_per_task": 1, "mem_per_cpu": "1G"}, {"gres": "lscratch:9", "export": "NONE"}),
        ({"gpus": 3, "export": "ALL"}, {"gres": "lscratch:9", "mem": "4G"}),
        ({"gres": "tape:1", "mem_per_gpu": None}, {"mem": "4G", "export": "NONE"}),
    ],
)
def test_a_variable_of_sbatch_adds_nothing_to_what_the_config_asks_for_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm: dict[str, Any], found: dict[str, str]
) -> None:
    counted = {"GRES": "gpu:2,lscratch:9", "MEM_PER_NODE": "4G", "EXPORT": "NONE"}
    computed = {
        "ARRAY_INX": "0-3",
        "OPEN_MODE": "truncate",
        "NO_REQUEUE": "1",
        "SIGNAL": "9",
        "JOB_NAME": "x",
        "WAIT": "1",
    }
    for name, value in (counted | computed).items():
        monkeypatch.setenv(f"SBATCH_{name}", value)
    _, config = planned(tmp_path, slurm=slurm)
    assert SlurmExecutor().resources(config).options == found


# What a site has in place of conda, modules, Spack, srun: as they are where all is well, and the ways in which they fail.
ACTIVATIONS = {
    "conda": {
        "works": "conda() { [ $1 = info ] && echo $PWD/base || export GOOD=1; }",
        "refuses": "conda() { [ $1 = info ] && echo $PWD/base || { echo no such environment >&2; return 1; }; }",
        "is not there": "unset -f conda",
    },
    "modules": {
        "works": "module() { [ $1 = purge ] && LOADEDMODULES= || LOADEDMODULES=cuda/12 GOOD=1; export GOOD; }",
        "refuses": "module() { [ $1 = purge ] || { echo unknown >&2; return 1; }; }",
        "says that it worked": "module() { [ $1 = purge ] || echo 'ERROR:105: Unable to locate a modulefile' >&2; }",
        "is not there": "unset -f module",
    },
    "spack": {
        "works": "spack() { export SPACK_ENV=/here GOOD=1; }",
        "refuses": "spack() { echo no such environment >&2; return 1; }",
        "says that it worked": "spack() { :; }",
        "is not there": "unset -f spack; export SPACK_ROOT=$PWD/nowhere",
    },
    "venv": {
        "works": "export VENV=$PWD/venv",
        "refuses": "export VENV=$PWD/broken",
        "is not there": "export VENV=$PWD/nowhere",
    },
    "pyxis": {
        "works": "srun() { export GOOD=1; while [[ $1 == --* ]]; do shift; done; ./$@; }",
        "refuses": "srun() { echo 'pyxis: failed to import docker image' >&2; return 1; }",
        "is not there": "unset -f srun",
    },
}


@pytest.mark.parametrize(("template", "way"), [(name, way) for name, ways in ACTIVATIONS.items() for way in ways])
def test_a_task_begins_in_the_environment_of_its_template_or_not_at_all(
    tmp_path: Path, template: str, way: str
) -> None:
    run, config = planned(tmp_path, slurm={"template": template})
    for name, text in {
        "base/etc/profile.d/conda.sh": "",
        "spack/share/spack/setup-env.sh": "",
        "venv/bin/activate": "export GOOD=1",
        "broken/bin/activate": "echo broken >&2; false",
        "venv/bin/python": (begins := '#!/bin/bash\necho "began ${GOOD:-elsewhere}"'),
        "bin/python": begins,
        "bin/python3": begins,
        "python3": begins,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    text = array_script(run, config, submission())
    # A function is no program, which exec could start.
    text = text.replace('exec "${LAUNCHER_PREFIX', '"${LAUNCHER_PREFIX').replace(sys.executable, "python3")
    ended = subprocess.run(
        ["bash", "-c", f"{ACTIVATIONS[template][way]}\n{text}"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "HOME": str(tmp_path), "ENVIRONMENT": "BATCH"},
    )  # fmt: skip
    if way == "works":
        assert (ended.returncode, ended.stdout) == (0, "began 1\n"), ended.stderr
    else:
        assert (ended.returncode != 0, ended.stdout) == (True, "")
        assert ended.stderr != ""


def test_the_first_attempt_alone_waits_for_the_users_own_job(tmp_path: Path) -> None:
    slurm = {"dependency": "afterok:7"}
    assert array_options(tmp_path, slurm=slurm)["dependency"] == "afterok:7"
    assert "dependency" not in array_options(tmp_path, submission(attempt=2), slurm=slurm)


def test_a_run_that_was_deleted_and_planned_again_has_other_job_names(tmp_path: Path) -> None:
    run, _ = planned(tmp_path)
    before = job_name(run, 1)
    assert job_name(run, 1) == before != job_name(run, 2)
    plan = checked_json.decode(run.plan.read_bytes())
    run.plan.write_bytes(checked_json.encode({**plan, "created": plan["created"] + 1}))
    assert job_name(run, 1) != before


@pytest.mark.parametrize("name", TEMPLATES)
def test_bash_reads_every_script_that_a_shipped_template_gives(tmp_path: Path, name: str) -> None:
    assert bash_reads(script_of(tmp_path, name))


def script_of(folder: Path, name: str) -> str:
    run, config = planned(folder, slurm={} if name == "finalize" else {"template": name})
    if name == "finalize":
        return finalize_script(run, config, [started(1, "1")])
    return array_script(run, config, submission())


def bash_reads(text: str) -> bool:
    read = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    return (read.returncode, read.stderr) == (0, "")


@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
@pytest.mark.parametrize("name", TEMPLATES)
def test_slurm_takes_every_script_that_a_shipped_template_gives(slurm: SlurmCluster, tmp_path: Path, name: str) -> None:
    text = script_of(tmp_path, name)
    (tmp_path / "script").write_text(text)
    said = subprocess.run(
        ["sbatch", "--test-only", str(tmp_path / "script")], env=slurm.env, capture_output=True, text=True, check=False
    )
    assert (said.returncode, "to start at" in said.stderr) == (0, True), said.stderr
