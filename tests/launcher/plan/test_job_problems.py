"""Mistakes in a user's module: told with file and line of the user's own code, and with what to do."""

import os
import signal
import sys
from pathlib import Path

import pytest

from jobs.errors import InputError
from jobs.hierarchy import Hierarchy
from jobs.job import Job, job_class, make_job
from jobs.storage.records import JobSpec
from launcher.plan.config_check import job_problems

JOB = "from jobs.job import Job\n\nclass Mine(Job):\n    def __init__(self, x=1):\n        {}\n"
FILES = {
    "undefined name": ("import math\nLIMIT = undefined_name\n", r"NameError: .*\), at {mine}:2$"),
    "no such package": (
        "\nimport not_installed_anywhere\n",
        r"install what has 'not_installed_anywhere' .*\), at {mine}:2$",
    ),
    "no Python": ("x = (\ny = 1 +\n", r"SyntaxError: .*\), at {mine}:\d$"),
    "in a module that it imports": ("import {helper}\n", r"ZeroDivisionError: .*\), at {helper}:3$"),
    "in a package that it calls": ("import json\njson.loads('[')\n", r"JSONDecodeError: .*\), at {mine}:2$"),
    "constructor": (JOB.format("raise OSError('no scanner')"), r"^job\.params: .*OSError: no scanner \({mine}:5\)$"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, case: str) -> None:
    text, message = FILES[case]
    name = f"mistaken_{list(FILES).index(case)}"
    (tmp_path / f"{name}_helper.py").write_text("x = 0\n\nx / x\n")
    (tmp_path / f"{name}.py").write_text(text.replace("{helper}", f"{name}_helper"))
    expected = message.replace("{mine}", str(tmp_path / f"{name}.py")).replace(
        "{helper}", str(tmp_path / f"{name}_helper.py")
    )
    with pytest.raises(InputError, match=expected) as caught:
        make_job(JobSpec(f"{name}:Mine", folder=str(tmp_path)))
    assert "Searched" not in str(caught.value)


@pytest.mark.parametrize("rest", ["", "raise RuntimeError('cannot release un-acquired lock')\n"])
def test_a_module_that_replaces_sockets_and_threads_is_told_so(tmp_path: Path, rest: str) -> None:
    """As with gevent, which may itself fail where threads run already."""
    name = f"patching_{len(rest)}"
    text = f"from tests.example_jobs.leaving_jobs import patch_all\npatch_all()\n{rest}"
    (tmp_path / f"{name}.py").write_text(text)
    try:
        with pytest.raises(InputError, match=r"cannot import .* \(InputError: gevent replaces Python's sockets"):
            make_job(JobSpec(f"{name}:Mine", folder=str(tmp_path)))
        assert make_job(JobSpec("tests.example_jobs.toy_jobs:Toy")), "what was so before is not the Job's"
    finally:
        del sys.modules["gevent.monkey"]


@pytest.mark.timeout(0)  # which is such a timer
def test_a_timer_that_a_module_or_constructor_leaves_running_ends_nobody(tmp_path: Path) -> None:
    lines = ["import signal", "signal.alarm(1)", JOB.format("signal.alarm(1)")]
    (tmp_path / "timed_job.py").write_text("\n".join(lines))
    assert make_job(JobSpec("timed_job:Mine", folder=str(tmp_path)))
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


@pytest.mark.timeout(0)  # which is such a timer
def test_a_timer_that_runs_out_while_a_module_is_imported_is_told_with_its_place(tmp_path: Path) -> None:
    text = "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\ntime.sleep(60)\n"
    (tmp_path / "overtime_job.py").write_text(text)
    with pytest.raises(InputError, match=rf"TimeoutError: its timer ran out .*, at {tmp_path}/overtime_job.py:3"):
        make_job(JobSpec("overtime_job:Mine", folder=str(tmp_path)))


@pytest.mark.timeout(0)  # which is such a timer
def test_a_timer_of_who_plans_runs_on(tmp_path: Path) -> None:
    signal.setitimer(signal.ITIMER_REAL, 3600)
    try:
        assert make_job(JobSpec("tests.example_jobs.toy_jobs:Toy"))
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_a_module_that_is_not_there_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"cannot import 'nowhere\.mine' .*Searched: the Python path and {tmp_path}$"):
        make_job(JobSpec("nowhere.mine:Mine", folder=str(tmp_path)))


def test_a_constructor_that_leaves_is_a_problem_of_its_params(tmp_path: Path) -> None:
    (tmp_path / "leaving_job.py").write_text(
        "import sys\nfrom jobs import Job\nclass Mine(Job):\n    def __init__(self):\n        sys.exit(0)\n"
    )
    with pytest.raises(InputError, match=r"job.params: leaving_job:Mine: SystemExit: 0 \(.*leaving_job.py:5\)"):
        make_job(JobSpec("leaving_job:Mine", folder=str(tmp_path)))


def test_runs_of_one_process_have_each_a_module_of_its_own(tmp_path: Path) -> None:
    """As those of a notebook, which plans again after a change of a cell."""
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "job_of_both.py").write_text(
            f"from jobs import Job\n\n\nclass Mine(Job):\n    of = {name!r}\n"
        )
    specs = [JobSpec("job_of_both:Mine", folder=str(tmp_path), import_from=(str(tmp_path / name),)) for name in "bccb"]
    assert [vars(job_class(spec))["of"] for spec in specs] == ["b", "c", "c", "b"]


class Idle(Job):
    """Loads, and makes no results."""

    def load(self, sample: object) -> object:
        return sample


def test_a_job_that_makes_no_results_is_refused() -> None:
    message = "Idle has neither process nor process_sample"
    needed, (problem,) = job_problems(JobSpec(f"{__name__}:Idle"), 1)
    assert (list(needed), problem[0], problem[1].partition(";")[0]) == ([], ("job", "class"), message)
    with pytest.raises(InputError, match=message):
        Hierarchy(Idle)


def test_what_a_job_does_to_the_process_that_plans_it_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Relative paths of ours begin in the working directory, the umask is that of our files, and stdout has our documents."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moving_job.py").write_text(
        "import os\nos.chdir('/')\nos.umask(0o777)\nos.write(1, b'mine')\nfrom jobs import Job\nclass Mine(Job):\n"
        "    def __init__(self):\n        os.umask(0o777)\n    def process(self, batch):\n        return {}\n"
    )
    umask = os.umask(0o027)
    try:
        assert job_problems(JobSpec("moving_job:Mine", folder=str(tmp_path)), workers=1) == ((), [])
        assert (Path.cwd(), os.umask(umask)) == (tmp_path, 0o027)
        assert capfd.readouterr() == ("", "mine")
    finally:
        os.umask(umask)
