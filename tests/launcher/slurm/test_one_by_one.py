"""Array tasks that are jobs of their own: each is recorded with its place, whatever Slurm refuses and whoever is killed."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import InputError, RunError
from jobs.machine.process_identity import ProcessIdentity
from jobs.storage.rundir import RunDir
from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Resources, Submission
from launcher.config.config import load_config
from launcher.plan.plan import make_plan
from launcher.slurm import finalize_job
from launcher.slurm.handover import hand_over
from launcher.slurm.scripts import task_names
from launcher.slurm.sighting import look
from launcher.slurm.slurm_executor import SlurmExecutor
from tests.support.launcher_runs import write_config

COUNTS = """\
for word in "$@"; do case $word in --job-name=*) name=${word#--job-name=} ;; esac; done
number=$(( $(cat $0.calls 2>/dev/null | wc -l) + 1 ))
"""
# A process identity of this host that none has.
GONE = {**ProcessIdentity.current().to_json(), "pid": 2**22 - 1, "start": 1}
SUBMITS = "echo $name >> $0.calls\necho $number\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for name in ("squeue", "sinfo", "scontrol", "sacctmgr"):
        stand_in(folder, name, "true")
    return folder


def stand_in(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def recorded(place: Path, **fields: object) -> tuple[RunDir, Submission]:
    """A run with a submission of four array tasks that are jobs of their own."""
    config = load_config(write_config(place, executor="slurm", slurm={"finalize": "none"}))
    made = make_plan(config)
    ranges = tuple((task, task + 1) for task in range(4))
    resources = Resources(single_jobs=True, attended=True)
    plain = Submission(1, "slurm", 0.0, 4, Spans(ranges), ranges, NodeSettings(), resources, **fields)  # type: ignore[arg-type]
    plain.write(made.run.submission(1))
    return made.run, plain


def submitted(programs: Path, run: RunDir) -> list[str]:
    """The ends of the names of all jobs that sbatch was given."""
    return [name.rpartition("-")[2] for name in (programs / "sbatch.calls").read_text().split()]


@pytest.mark.parametrize("words", ["a plugin's own words", "Access/permission denied", "QOSMaxSubmitJobPerUserLimit"])
def test_those_before_a_refusal_do_the_work_of_all(programs: Path, tmp_path: Path, words: str) -> None:
    run, submission = recorded(tmp_path)
    refuse = f'echo "sbatch: error: {words}" >&2; exit 1'
    stand_in(programs, "sbatch", f"{COUNTS}[ $number = 3 ] && {{ {refuse}; }}\n{SUBMITS}")
    (started,) = hand_over(run, [submission])
    assert (started.job_ids, started.tasks) == (("1", "2"), 2)
    assert Submission.read(run.submission(1)).job_ids == ("1", "2")


def test_a_refusal_of_the_first_is_that_of_all(programs: Path, tmp_path: Path) -> None:
    run, submission = recorded(tmp_path)
    stand_in(programs, "sbatch", 'echo "sbatch: error: never" >&2; exit 1')
    with pytest.raises(InputError, match="never"):
        hand_over(run, [submission])
    assert Submission.read(run.submission(1)).job_ids == ()


def test_one_that_a_killed_launcher_began_is_gone_on_with(programs: Path, tmp_path: Path) -> None:
    run, submission = recorded(tmp_path, job_ids=("101", "102"))
    names = task_names(run, submission)
    # The launcher died after the third sbatch, and the first job has ended since.
    stand_in(programs, "squeue", f'case "$*" in *%j*) echo "103|N/A|RUNNING|None|{names[2]}";; esac')
    stand_in(programs, "sbatch", f"{COUNTS}{SUBMITS}")
    assert not submission.is_submitted
    (started,) = hand_over(run, [submission])
    assert (started.job_ids, started.tasks) == (("101", "102", "103", "1"), 4)
    assert submitted(programs, run) == ["3"]


def test_places_in_the_queue_are_those_of_the_array_tasks(programs: Path, tmp_path: Path) -> None:
    run, submission = recorded(tmp_path, job_ids=("101", "102"))
    names = task_names(run, submission)
    stand_in(programs, "squeue", f'echo "102|N/A|RUNNING|None|{names[1]}"; echo "103|N/A|RUNNING|None|{names[2]}"')
    (seen,) = look(run, [submission]).submissions
    assert seen.job_ids == ("101", "102", "103")


def test_a_job_that_has_got_the_number_of_a_runs_is_not_cancelled(programs: Path, tmp_path: Path) -> None:
    run, submission = recorded(tmp_path, job_ids=("101",), folder=str(tmp_path / "runs" / "toy"))
    stand_in(programs, "squeue", 'echo "101|N/A|RUNNING|None|mine"')
    stand_in(programs, "scancel", "touch $0.called")
    with pytest.raises(RunError, match=r"Slurm job 101 is called mine.*: scancel 101"):
        SlurmExecutor().cancel(run, submission)
    assert not (programs / "scancel.called").exists()


@pytest.mark.parametrize("name", ["mine", None])
def test_a_job_that_has_got_the_number_of_a_runs_does_not_make_it_go_on(
    programs: Path, tmp_path: Path, name: str | None
) -> None:
    """A controller that has lost its state counts from 1 again; a site's plugin may rename jobs, and leaves their arguments."""
    run, submission = recorded(tmp_path, job_ids=("101",), finalize_id="102", folder=str(tmp_path / "runs" / "toy"))
    argument = "" if name else f"\t/x.sh {task_names(run, submission)[0]}"
    stand_in(programs, "squeue", f"printf '101|N/A|RUNNING|None|mine{argument}\\n102|N/A|PENDING|Priority|mine\\n'")
    seen = look(run, [submission])
    assert seen.active == seen.queued == (frozenset() if name else {1})
    assert not seen.followed
    assert seen.entries == ({} if name else {("RUNNING", "None"): 1})
    assert SlurmExecutor().observe(run, [submission]).active == seen.active


def test_jobs_of_a_run_that_was_moved_have_the_names_of_where_it_was(programs: Path, tmp_path: Path) -> None:
    run, submission = recorded(tmp_path, folder="/where/it/was")
    (name, *_) = task_names(RunDir(run.path.rename(tmp_path / "now")), submission)
    assert name.startswith("was-")
    assert look(RunDir(tmp_path / "now"), [submission]).foreign == {}


@pytest.mark.parametrize("attended", [True, False])
def test_the_finalize_jobs_mail_is_taken_back_where_another_job_goes_on_alone(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attended: bool
) -> None:
    run, submission = recorded(tmp_path)
    follows = replace(submission, resources=Resources(attended=attended))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(finalize_job, "_finalize", lambda run, numbers: [follows])
    stand_in(programs, "scontrol", "echo $@ >> $0.calls")
    assert finalize_job.main([str(run.path), "1"]) == 0
    assert (programs / "scontrol.calls").exists() == (not attended)


def test_of_another_users_run_nobody_else_submits_the_finalize_job(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "scontrol", "echo 'PrivateData = jobs'")
    stand_in(programs, "sbatch", f"{COUNTS}{SUBMITS}")
    run, submission = recorded(tmp_path, job_ids=("101",), owner="somebody")
    theirs = replace(submission, resources=Resources(), process=GONE)
    theirs.write(run.submission(1))
    before = run.submission(1).read_bytes()
    assert SlurmExecutor().recover(run, [theirs]) == {1}
    assert not (programs / "sbatch.calls").exists()
    assert run.submission(1).read_bytes() == before
