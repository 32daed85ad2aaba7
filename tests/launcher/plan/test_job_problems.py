"""Mistakes in a user's module: told with file and line of the user's own code, and with what to do."""

import os
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
