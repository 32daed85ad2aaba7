"""Calls of Slurm's commands, with stand-ins for them: what sbatch's answers mean, and what it is started with."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.errors import InputError
from launcher.slurm import calls, limits, sbatch, scheduler
from launcher.slurm.associations import USER_FIELDS
from launcher.slurm.limits import forget, limits_for
from launcher.slurm.parsers import JobId
from tests.support.launcher_runs import in_process, write_config


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that comes first on PATH; the queue is empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    stand_in(folder, "squeue", "true")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    calls.can_bind.cache_clear()
    forget()
    yield folder
    calls.can_bind.cache_clear()
    forget()


def stand_in(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/bash\n{body}\n")
    (folder / name).chmod(0o755)


def count(folder: Path, name: str) -> int:
    return len((folder / f"{name}.calls").read_text().splitlines())


def test_a_script_is_submitted_by_one_call_that_asks_for_the_id_alone(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "sbatch", 'echo "$@" >> $0.calls\necho "123;cluster"')
    assert sbatch.submit(tmp_path / "x.sbatch", "name") == JobId("123", "cluster")
    assert (programs / "sbatch.calls").read_text() == f"--parsable {tmp_path}/x.sbatch name\n"


def test_what_else_is_said_is_not_taken_for_an_id(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "sbatch", 'echo "Welcome, 7 of 9"; echo 123; echo "sbatch: lua: 5 jobs left" >&2')
    for listed in ("123|N/A|PENDING|None|name", "124|N/A|PENDING|None|site-name"):  # or a plugin has changed the name
        stand_in(programs, "squeue", f"echo '{listed}'")
        assert sbatch.submit(tmp_path / "x.sbatch", "name") == JobId("123")


def test_a_number_on_a_line_of_a_wrappers_own_is_not_taken_for_an_id(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "sbatch", "echo 12; echo Submitted batch job 123")
    stand_in(programs, "squeue", "echo '123|N/A|PENDING|None|name'")
    stand_in(programs, "scancel", 'echo "$@" >> $0.calls')
    assert sbatch.submit(tmp_path / "x.sbatch", "name") == JobId("123")
    assert not (programs / "scancel.calls").exists()


def test_what_sbatch_has_refused_is_no_job_that_is_there(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "sbatch", "echo 124")
    stand_in(programs, "squeue", "echo '123|0|FAILED|BadConstraints|name'")
    assert sbatch.submit(tmp_path / "x.sbatch", "name", is_new=False) == JobId("124")


def test_where_sbatch_tells_no_id_the_job_is_looked_for_by_its_name(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(programs, "sbatch", "echo Submitted batch job 99")
    stand_in(programs, "squeue", "echo '123|N/A|PENDING|None|name'")
    assert sbatch.submit(tmp_path / "x.sbatch", "name") == JobId("123")
    stand_in(programs, "squeue", "[ -f $0.asked ] && echo '123|N/A|PENDING|None|name'; touch $0.asked")
    assert sbatch.submit(tmp_path / "x.sbatch", "name") == JobId("123")  # it came a moment later
    monkeypatch.setattr(sbatch, "_ARRIVAL", (0.0,))
    stand_in(programs, "squeue", "true")
    with pytest.raises(InputError, match="no job id: Submitted batch job 99"):
        sbatch.submit(tmp_path / "x.sbatch", "name")


@pytest.mark.parametrize("words", ["sbatch: error: quota file is locked", "AssocMaxSubmitJobLimit", ""])
def test_what_a_sites_own_command_has_submitted_before_it_failed_is_there(
    programs: Path, tmp_path: Path, words: str
) -> None:
    stand_in(programs, "sbatch", f"echo call >> $0.calls; echo '{words}' >&2; exit 3")
    stand_in(programs, "squeue", "echo '123|N/A|PENDING|None|name'")
    assert sbatch.submit(tmp_path / "x.sbatch", "name") == JobId("123")
    assert count(programs, "sbatch") == 1


def test_a_job_that_the_site_has_given_another_name_is_told_by_the_argument_of_its_script(
    programs: Path, tmp_path: Path
) -> None:
    stand_in(programs, "sbatch", "exit 3")
    rows = ("122|0|RUNNING|None|lab_x\t/a b/x.sbatch name-2", "123|0|PENDING|None|lab|y\t/a|b/x.sbatch 7 name")
    stand_in(programs, "squeue", "; ".join(f"echo $'{row}'" for row in rows))
    assert sbatch.submit(tmp_path / "x.sbatch", "name") == JobId("123")
    assert [entry.names for entry in scheduler.queue()] == [{"lab_x", "name-2"}, {"lab|y", "name"}]


def test_a_job_that_arrived_late_and_took_the_last_place_is_found(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sbatch, "BACK_OFF", (0, 0))
    late = "Batch job submission failed: Socket timed out on send/recv operation"
    full = "Batch job submission failed: AssocMaxSubmitJobLimit"
    stand_in(
        programs, "sbatch",
        f'echo call >> $0.calls\n[ -f $0.late ] && echo "sbatch: error: {full}" >&2 && touch $0.full && exit 1\n'
        f'touch $0.late; echo "sbatch: error: {late}" >&2; exit 1',
    )  # fmt: skip
    stand_in(programs, "squeue", f"[ -f {programs}/sbatch.full ] && echo '123|0|PENDING|None|name'; true")
    assert sbatch.submit(tmp_path / "x.sbatch", "name") == JobId("123")
    assert count(programs, "sbatch") == 2


def test_bytes_of_any_encoding_around_the_id_change_nothing(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "squeue", "true")
    stand_in(programs, "sbatch", r"printf 'd\xe9j\xe0 vu\n'; echo 123")
    assert sbatch.submit(tmp_path / "x.sbatch", "name") == JobId("123")
    stand_in(programs, "squeue", r"printf '7|0|RUNNING|None|caf\xe9\n8|0|PENDING|None|name\n'")
    assert [(entry.job.number, entry.name) for entry in scheduler.queue()] == [("7", "caf\ufffd"), ("8", "name")]


def test_sbatch_is_not_called_again_for_want_of_an_answer_after_it(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BACK_OFF", ())
    stand_in(programs, "sbatch", "echo call >> $0.calls; echo Submitted batch job 99")
    stand_in(programs, "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(calls.NoAnswer, match="squeue"):
        sbatch.submit(tmp_path / "x.sbatch", "name")
    assert count(programs, "sbatch") == 1


def test_an_error_is_told_in_sbatchs_own_words(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "sbatch", 'echo "sbatch: error: invalid partition specified: nope" >&2; exit 1')
    with pytest.raises(InputError, match=r"x\.sbatch: invalid partition specified: nope\n"):
        sbatch.submit(tmp_path / "x.sbatch", "name")


def test_a_setpriv_that_cannot_bind_is_left_out(programs: Path, tmp_path: Path) -> None:
    """That of RHEL 8: an unknown option is an error, and nothing could be submitted."""
    stand_in(programs, "setpriv", 'echo "$@" >> $0.calls\nexit 1')
    stand_in(programs, "sbatch", "echo 123")
    assert [sbatch.submit(tmp_path / "x.sbatch", "name") for _ in range(2)] == [JobId("123")] * 2
    assert count(programs, "setpriv") == 1


def test_what_users_set_for_their_own_eyes_changes_no_question(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SQUEUE_STATES", "SQUEUE_FORMAT", "SACCT_FORMAT", "SCANCEL_STATE", "SINFO_FORMAT"):
        monkeypatch.setenv(name, "RUNNING")
    stand_in(programs, "squeue", 'env > $0.env; echo "$@" > $0.arguments')
    scheduler.queue()
    given = (programs / "squeue.env").read_text()
    assert not [line for line in given.splitlines() if line.startswith(("SQUEUE", "SACCT", "SCANCEL", "SINFO"))]
    assert "--all" in (programs / "squeue.arguments").read_text().split()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="this machine has no setpriv")
def test_sbatch_gets_no_variable_of_a_job_and_none_of_ours(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path))
    monkeypatch.setenv("SBATCH_PARTITION", "nope")
    stand_in(programs, "sbatch", "env > $0.env\necho 123")
    sbatch.submit(tmp_path / "x.sbatch", "name")
    given = [line.partition("=")[0] for line in (programs / "sbatch.env").read_text().splitlines()]
    assert [name for name in given if name.startswith(("SLURM", "SBATCH"))] == ["SLURM_CONF"]


def test_without_an_sbatch_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="sbatch is not on this machine's PATH"):
        sbatch.submit(tmp_path / "x.sbatch", "name")


def test_a_slurm_conf_that_is_not_there_is_told_at_once(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(programs, "squeue", "echo call >> $0.calls; exec sleep 60")
    monkeypatch.setenv("SLURM_CONF", "/nowhere/slurm.conf")
    for ask in (scheduler.queue, lambda: sbatch.submit(tmp_path / "x.sbatch", "name", is_new=False)):
        with pytest.raises(InputError, match=r"set SLURM_CONF .* is /nowhere/slurm\.conf, which"):
            ask()
    assert not (programs / "squeue.calls").exists()


def test_a_command_asks_nobody(programs: Path) -> None:
    stand_in(programs, "squeue", 'read answer && echo "7|0|RUNNING|None|$answer"; true')
    assert scheduler.queue() == []


def test_a_command_that_hangs_is_no_answer_and_is_not_waited_for_without_end(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_TIMEOUT", 0.2)
    monkeypatch.setattr(calls, "BACK_OFF", (0.1, 0.1, 0.1, 0.1, 0.1))
    asked: list[tuple[str, ...]] = []
    run = calls.run  # counted here: who is killed that soon may not have begun to count

    def noted(*command: str) -> str:
        asked.append(command)
        return run(*command)

    monkeypatch.setattr(calls, "run", noted)
    stand_in(programs, "squeue", "exec sleep 60")
    with pytest.raises(calls.NoAnswer, match="squeue did not answer within"):
        scheduler.queue()
    assert 1 <= len(asked) <= 4  # less than a second in all, however long each of the calls takes


def test_while_slurm_is_silent_the_way_on_without_it_is_named(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calls, "BACK_OFF", (0.1,))
    stand_in(programs, "scontrol", 'echo "error: Unable to contact slurm controller (connect failure)" >&2; exit 1')
    with pytest.raises(calls.NoAnswer, match="--set executor=local"):
        limits_for({})
    assert "--set executor=local; trying again" in capsys.readouterr().err


def test_many_jobs_are_asked_for_by_one_call(programs: Path) -> None:
    row = "JobId=$n JobName=x JobState=FAILED ExitCode=1:0 NodeList=n1"
    stand_in(programs, "scontrol", f'echo call >> $0.calls; for n in 1 2 3 4 5 6 7; do echo "{row}"; done')
    assert [row.job_id for row in scheduler.jobs(["2", "4", "5", "6", "9"])] == ["2", "4", "5", "6"]
    assert count(programs, "scontrol") == 1


def test_the_accounting_is_asked_from_a_day_before_on(programs: Path) -> None:
    """Clocks of machines differ, and at the end of summer time an hour comes twice."""
    stand_in(programs, "sacct", 'echo "$@" > $0.said')
    scheduler.accounting(["2"], 1_700_000_000.0)
    start = re.search(r"-S (\S+)", (programs / "sacct.said").read_text())
    assert start
    assert time.mktime(time.strptime(start[1], "%Y-%m-%dT%H:%M:%S")) <= 1_700_000_000 - 82_800


@pytest.mark.parametrize(("enforced", "jobs"), [("associations,qos", None), ("associations,limits,qos,safe", 3)])
def test_limits_that_nobody_heeds_are_none(programs: Path, enforced: str, jobs: int | None) -> None:
    stand_in(programs, "scontrol", f"echo 'ClusterName = site'; echo 'AccountingStorageEnforce = {enforced}'")
    own = {"DefaultAccount": "lab", "Account": "lab", "Cluster": "site", "MaxSubmitJobs": "3"}
    row = "|".join(own.get(name, "") for name in USER_FIELDS.split(","))
    stand_in(programs, "sacctmgr", f"[[ $* != *'show user'* ]] || echo '{row}'")
    assert limits_for({}).submit_jobs == jobs


def test_what_slurm_allows_is_asked_once_for_a_command(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(programs, "scontrol", "echo call >> $0.calls; echo 'MaxArraySize = 7'")
    assert [limits_for({}).array_size, limits_for({"account": "lab"}).array_size] == [7, 7]
    assert count(programs, "scontrol") == 1
    monkeypatch.setattr(limits, "_FRESH_SECONDS", 0.0)  # for one that stays, that was long ago
    assert limits_for({}).array_size == 7
    assert count(programs, "scontrol") == 2


TAKES = {
    "no arrays": 'grep -qse "^#SBATCH --array" -- "$@"',
    "small arrays": 'grep -qse "^#SBATCH --array" -- "$@" && [[ "$*" != *--array=0-1* ]]',
    "nothing": "true",
}


@pytest.mark.parametrize(("refuses", "kind"), [(name, name == "no arrays") for name in TAKES])
def test_that_there_are_no_arrays_is_found_out_and_not_read_from_words(
    programs: Path, tmp_path: Path, refuses: str, kind: bool
) -> None:
    (tmp_path / "x.sbatch").write_text("#!/bin/bash\n#SBATCH --array=0-99%9\ntrue\n")
    words = "use a job array with at most 10 tasks"
    stand_in(programs, "sbatch", f'if {TAKES[refuses]}; then echo "sbatch: error: {words}" >&2; exit 1; fi\necho 7')
    with pytest.raises(InputError, match=words) as refused:
        sbatch.submit(tmp_path / "x.sbatch", "name")
    assert isinstance(refused.value, sbatch.NoArrays) == kind


@pytest.mark.parametrize(
    "said",
    ["Requested partition configuration not available now", "Requested nodes are busy",
     "Required node not available (down, drained or reserved)"],
)  # fmt: skip
def test_what_waits_for_nodes_is_not_refused(programs: Path, tmp_path: Path, said: str) -> None:
    stand_in(programs, "sbatch", f'echo "allocation failure: {said}" >&2; exit 1')
    assert said in sbatch.test_only(tmp_path / "x.sbatch")
    stand_in(programs, "sbatch", 'echo "allocation failure: Requested node configuration is not available" >&2; exit 1')
    with pytest.raises(InputError):
        sbatch.test_only(tmp_path / "x.sbatch")


@pytest.mark.parametrize(
    "said",
    ["scontrol: fatal: Could not establish a configuration source",
     "scontrol: error: s_p_parse_file: unable to status file /etc/slurm/slurm.conf: No such file or directory",
     "scontrol: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
     "scontrol: fatal: Could not establish a configuration source"],
)  # fmt: skip
def test_commands_without_a_cluster_are_told_as_such(programs: Path, said: str) -> None:
    stand_in(programs, "scontrol", f'echo "{said}" >&2; exit 1')
    with pytest.raises(InputError, match=r"its configuration is not: set SLURM_CONF .*--set executor=local") as caught:
        limits_for({})
    shown = str(caught.value).rpartition("(scontrol: ")[2].removesuffix(")").removesuffix(" ...")
    assert set(shown.split()) <= set(said.split())  # it is cut between words


def test_where_there_is_no_cluster_plan_leaves_nothing(programs: Path, tmp_path: Path) -> None:
    for name in ("sbatch", "scontrol"):
        stand_in(programs, name, 'echo "fatal: Could not establish a configuration source" >&2; exit 1')
    config = write_config(tmp_path / "project", executor="auto")
    done = in_process(config.parent, "plan", config)
    assert (done.returncode, done.stderr.count("its configuration is not: set SLURM_CONF")) == (2, 1), done.stderr
    assert not (config.parent / "runs").exists()
