"""node.scratch: where a task's temporary files are, and that none of them stay."""

import os
from pathlib import Path

from tests.support.task_runs import attempts, make_run, run_task

LEAVES = "mktemp -d && echo $TMPDIR > {said}"


def test_temporary_files_go_into_a_folder_of_the_task_which_goes_with_it(tmp_path: Path) -> None:
    made_run = make_run(
        tmp_path / "run",
        "jobs.command:Command",
        2,
        params={"command": ["sh", "-c", LEAVES.format(said=tmp_path / "said")]},
        workers=1,
        scratch="$DISK/${USED_BY}/tmp",
    )
    environment = {**os.environ, "DISK": str(tmp_path / "disk"), "USED_BY": "me"}
    done = run_task(made_run, env=environment)
    assert done.returncode == 0, done.stderr
    folder = Path((tmp_path / "said").read_text().strip())
    assert folder.parent == tmp_path / "disk" / "me" / "tmp"
    assert list(folder.parent.iterdir()) == []


def test_a_scratch_folder_that_this_node_has_not_is_told_before_anything_begins(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "Toy", 2, workers=1, scratch="$NO_SUCH_DISK/tmp")
    done = run_task(run)
    assert done.returncode == 2
    assert "node.scratch: $NO_SUCH_DISK/tmp on " in done.stderr
    assert "the variable NO_SUCH_DISK is not set there" in done.stderr
    (tmp_path / "file").touch()
    run = make_run(tmp_path / "other", "Toy", 2, workers=1, scratch=str(tmp_path / "file" / "tmp"))
    done = run_task(run)
    assert (done.returncode, "Not a directory; choose a folder" in done.stderr) == (2, True)
    assert attempts(run) == []


def test_without_a_key_the_sites_own_folder_for_the_job_is_taken(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run",
        "jobs.command:Command",
        1,
        params={
            "command": ["sh", "-c", "echo {tmp} > " + str(tmp_path / "said")],
            "files": {"x": "said"},
            "timeout": 9,
        },
        workers=1,
    )
    done = run_task(run, env={**os.environ, "SLURM_TMPDIR": str(tmp_path)})
    assert (tmp_path / "said").read_text().startswith(str(tmp_path)), done.stdout
    done = run_task(run, env={**os.environ, "SLURM_TMPDIR": str(tmp_path / "gone")})
    assert done.returncode == 0, done.stderr
