"""Where commands are told to write: bad input is that where nothing can be written, whatever writes it."""

from pathlib import Path

import pytest

from launcher.cli import main
from tests.support.builders import build_run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["schema", "--output", "file/x.json"], "file/x.json: is a folder, or there is no folder for it"),
        (
            ["schema", "--output", "folder"],
            "folder: is a folder, or there is no folder for it; give a file such as schema.json",
        ),
        (["report", "run", "--output", "folder"], "give a file such as report.html"),
        (["man", "--output", "file"], "file: cannot be a folder (File exists: file); give another path"),
        (["man", "--output", "file/x/y"], "file/x/y: cannot be a folder (Not a directory: "),
        (["export", "run", "file/x", "--format", "numpy"], "file: cannot be a folder (File exists: "),
    ],
)
def test_a_place_where_nothing_can_be_written_is_bad_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    if "run" in arguments:
        build_run(tmp_path / "run")
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
