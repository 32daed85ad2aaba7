"""Damaged files of a run: whatever command meets one says in one message which it is, and ends with 1 or 2 at the worst."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.storage.rundir import RunDir
from launcher.cli import main
from tests.support.examples import examples
from tests.support.launcher_runs import launcher, run_of, write_config

COMMANDS = [
    ["status"], ["status", "--shards", "--json"], ["logs"], ["rerun"], ["rerun", "--shards", "0"], ["cancel"], ["gather"],
    ["gather", "--allow-missing"], ["verify"], ["list"], ["plan"],
]  # fmt: skip
FILES = [
    "plan.json", "config.yaml", "manifest.arrow", "layout.json", "result.h5", "submissions/0001.json",
    "submissions/0001.outcome", "attempts/*.journal", "attempts/*.data", "logs/*.log",
]  # fmt: skip


def cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def garble(path: Path, share: float) -> None:
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    data[at : at + 16] = b"\xff\x00{]\"'\n\x80 garbage "
    path.write_bytes(data)


def replace_by_nonsense(path: Path, share: float) -> None:
    path.write_bytes([b"", b"null", b"[1, 2]", b"{}", b'"text"', b"[" * 100_000, b"\x00" * 64][int(share * 7)])


def make_folder(path: Path, share: float) -> None:
    path.unlink()
    path.mkdir()


def remove(path: Path, share: float) -> None:
    path.unlink()


def link_to_itself(path: Path, share: float) -> None:
    """What it stands for, an error at open that is none of the usual ones, holds for root, too."""
    path.unlink()
    path.symlink_to(path.name)


DAMAGES: list[Callable[[Path, float], None]] = [cut, garble, replace_by_nonsense, make_folder, remove, link_to_itself]


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that is complete."""
    config = write_config(tmp_path_factory.mktemp("damaged"), rows=20, shards=2)
    assert launcher(config.parent, "run", config).returncode == 0
    return config.parent


@pytest.fixture
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Submissions of this test are recorded and go no further."""
    monkeypatch.setattr("launcher.local.local_executor.LocalExecutor.start", lambda self, run, made, attached: made)


def arguments(command: list[str], run: RunDir, folder: Path) -> list[str]:
    name, *flags = command
    match name:
        case "list":
            return [name, str(run.path.parent)]
        case "plan":
            return [name, str(folder / "config.yaml"), "--set", f"runs={run.path.parent}"]
        case "logs":
            return [name, str(run.path), "0"]
        case _:
            return [name, str(run.path), *flags]


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    file=st.sampled_from(FILES),
    damage=st.sampled_from(DAMAGES),
    share=st.floats(0, 0.999),
    command=st.sampled_from(COMMANDS),
)
def test_one_message_with_the_path_and_no_traceback(
    complete: Path,
    nothing_starts: None,
    capfd: pytest.CaptureFixture[str],
    file: str,
    damage: Callable[[Path, float], None],
    share: float,
    command: list[str],
) -> None:
    run = RunDir(complete / "damaged" / "toy")
    shutil.rmtree(run.path, ignore_errors=True)
    shutil.copytree(run_of(complete / "config.yaml").path, run.path)
    path = next(run.path.glob(file))
    damage(path, share)
    capfd.readouterr()
    code = main(arguments(command, run, complete))  # anything that it raises is a traceback for the user
    output = capfd.readouterr()
    assert code in (0, 1, 2)
    assert "Traceback" not in output.err
    if code and not (code == 1 and "launcher: " not in output.err):  # else it has said that the run is not complete
        messages = [line for line in output.err.splitlines() if line.startswith("launcher: ")]
        assert len(messages) == 1
        assert str(run.path) in messages[0]
