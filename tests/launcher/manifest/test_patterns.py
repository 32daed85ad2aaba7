"""Patterns: what glob matches, less what links to folders above would give again."""

import errno
import glob
import os
from pathlib import Path

import pytest

from jobs.errors import InputError
from launcher.manifest.patterns import matching_files

PATTERNS = """
    **/*.txt a/**/*.txt **/b/**/*.txt ** a/** **/x.txt */**/x* **/**/*.txt a/../**/*.bin ./**/*.txt q/**/c.txt/* **/b
    link/**/*.txt [aq]/**/x.txt a/**/ nope/**/*.txt a//**/x.txt **//x.txt *.txt a/*/*.txt
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    names = ("a/b/c/x.txt", "a/b/x.txt", "a/x.txt", "x.txt", "a/.h/x.txt", "a/b/.y.txt", "q/b/z.bin", "q/b/c.txt/x.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "gone").symlink_to("nowhere")
    (tmp_path / "link").symlink_to("a")
    return tmp_path


@pytest.mark.parametrize(
    "pattern",
    PATTERNS.split(),
)
def test_without_loops_a_pattern_matches_the_files_that_glob_does(tree: Path, pattern: str) -> None:
    for one in (pattern, f"{tree}/{pattern}"):
        found = {match for match in glob.iglob(one, root_dir=tree, recursive=True) if not os.path.isdir(tree / match)}
        assert set(matching_files(one, tree)) == found


def test_a_link_to_a_folder_that_it_lies_in_is_not_followed(tree: Path) -> None:
    before = set(matching_files("**/*.txt", tree))
    for name, target in (("a/loop", ".."), ("a/b/top", str(tree.parent)), ("a/here", "."), ("q/b/again", "../../q")):
        (tree / name).symlink_to(target)
    assert set(matching_files("**/*.txt", tree)) == before


def test_links_to_each_other_end(tree: Path) -> None:
    (tree / "a" / "to_q").symlink_to("../q")
    (tree / "q" / "to_a").symlink_to("../a")
    found = set(matching_files("[aq]/**/*.txt", tree))
    assert {name for name in found if name.startswith("q/")} == {
        "q/b/c.txt/x.txt",
        "q/to_a/x.txt",
        "q/to_a/b/x.txt",
        "q/to_a/b/c/x.txt",
    }


def test_a_folder_that_may_not_be_read_is_not_passed_over(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("/b"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(InputError, match="a/b: this folder may not be read, and what matches in it would be left out"):
        list(matching_files("a/**/*.txt", tree))


@pytest.mark.parametrize(("pattern", "refused"), [("a/*/*.txt", True), ("a/*/x.txt", False), ("a/b/x.txt", False)])
def test_nor_is_one_on_the_way_unless_its_names_are_not_asked_for(
    tree: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, refused: bool
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not ("/b" in str(path) and mode & os.R_OK))
    if refused:
        with pytest.raises(InputError, match="a/b/: this folder may not be read"):
            list(matching_files(pattern, tree))
    else:
        assert list(matching_files(pattern, tree)) == ["a/b/x.txt"]
