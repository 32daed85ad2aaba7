"""A folder that is there whole or not at all, while others make the same one."""

from pathlib import Path

import pytest

from jobs.storage.locks import try_lock
from jobs.storage.new_folder import NewFolder, _remove_abandoned


def test_one_that_another_took_for_abandoned_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, looked = tmp_path / "out", False

    def late(descriptor: int) -> bool | None:
        nonlocal looked
        if not looked:
            looked = True
            _remove_abandoned(path)  # what another process does between our open and our lock
        return try_lock(descriptor)

    monkeypatch.setattr("jobs.storage.new_folder.try_lock", late)
    with NewFolder(path) as folder:
        (folder.temporary / "data").write_text("all of it")
        folder.publish()
    assert [one.name for one in tmp_path.iterdir()] == ["out"]
    assert (path / "data").read_text() == "all of it"


@pytest.mark.parametrize("at", ["fsync_file", "os.rename"])
def test_what_was_killed_before_it_had_its_name_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Its lock is free then, and still there."""

    def die(*paths: Path) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "out"
    monkeypatch.setattr(f"jobs.storage.new_folder.{at}", die)
    monkeypatch.setattr("jobs.storage.new_folder.shutil.rmtree", lambda *_, **__: None)
    with NewFolder(path) as folder:
        (folder.temporary / "data").touch()
        with pytest.raises(KeyboardInterrupt):
            folder.publish()
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 1
    with NewFolder(path) as folder:
        assert list(tmp_path.iterdir()) == [folder.temporary]
