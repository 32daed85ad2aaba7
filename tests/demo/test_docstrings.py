"""The demo's manifest: every docstring once, the same each time."""

import csv
import sys
import sysconfig
from pathlib import Path

import pytest

from demo.docstrings import Docstring, collect, main, source_files, write

SOURCE = '''"""The module."""

class Outer:
    """A class."""

    @property
    def value(self):
        """Reads it."""

    @value.setter
    def value(self, value):
        """Sets it."""

    class Inner:
        async def method(self):
            """A method."""

            def helper():
                """A function in it."""

def undocumented():
    pass

if True:
    def conditional():
        """
        Cleaned
            of its indentation, but for this.
        """
else:
    def conditional():
        """Another one."""
'''


def library(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.fixture(scope="module")
def package() -> list[Docstring]:
    """Of one package of the standard library, some hundreds."""
    return collect(Path(sysconfig.get_path("stdlib"), "email"))


def test_every_definition_with_a_docstring_is_found_with_its_dotted_name(tmp_path: Path) -> None:
    found = collect(library(tmp_path, package__in__module=SOURCE))
    assert [(row.id, row.line) for row in found] == [
        ("package.module", 1),
        ("package.module.Outer", 3),
        ("package.module.Outer.value", 7),
        ("package.module.Outer.value#2", 11),
        ("package.module.Outer.Inner.method", 15),
        ("package.module.Outer.Inner.method.helper", 18),
        ("package.module.conditional", 25),
        ("package.module.conditional#2", 31),
    ]
    assert {row.path for row in found} == {"package/module.py"}
    assert found[-2].text == "Cleaned\n    of its indentation, but for this."


def test_a_package_is_named_without_init(tmp_path: Path) -> None:
    found = collect(library(tmp_path, package__in____init__='"""P."""\ndef f():\n    """F."""'))
    assert [row.id for row in found] == ["package", "package.f"]


def test_tests_and_installed_packages_are_left_out(tmp_path: Path) -> None:
    names = ["a", "test__in__b", "x__in__tests__in__c", "idle_test__in__d", "unittest__in__e"]
    folder = library(tmp_path, **dict.fromkeys(names, '"""Text."""'))
    library(folder / "site-packages", f='"""Text."""')
    assert [path.as_posix() for path in source_files(folder)] == ["a.py", "unittest/e.py"]


def test_a_file_of_another_syntax_is_passed_over(tmp_path: Path) -> None:
    found = collect(library(tmp_path, bad="print 'Python 2'", good='"""Good."""'))
    assert [row.id for row in found] == ["good"]


@pytest.mark.thorough
def test_the_standard_library_has_thousands_of_docstrings_with_unique_ids() -> None:
    standard_library = collect(Path(sysconfig.get_path("stdlib")))
    # Python 3.11 has 8,604; later ones dropped modules, and some distributions package a part of it separately.
    assert len(standard_library) > 5000
    assert len({row.id for row in standard_library}) == len(standard_library)
    assert all(row.text for row in standard_library)
    assert "json.decoder.JSONDecoder.decode" in {row.id for row in standard_library}


def test_collecting_twice_gives_the_same_rows(package: list[Docstring]) -> None:
    assert package
    assert collect(Path(sysconfig.get_path("stdlib"), "email")) == package


def test_the_csv_holds_every_row_exactly(package: list[Docstring], tmp_path: Path) -> None:
    path = tmp_path / "data" / "docstrings.csv"
    write(package, path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = [Docstring(row["id"], row["path"], int(row["line"]), row["text"]) for row in csv.DictReader(file)]
    assert rows == package


def test_the_command_writes_them_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = tmp_path / "docstrings.csv", library(tmp_path / "library", module=SOURCE)
    monkeypatch.setattr(sys, "argv", ["docstrings", str(path)])
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folder) if name == "stdlib" else "")
    main()
    assert len(path.read_text().splitlines()) > 8
    assert capsys.readouterr().out.startswith(f"{path}: 8 docstrings of Python 3.")


def test_writing_the_same_manifest_again_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "docstrings.csv"
    write([Docstring("a", "a.py", 1, "text")], path)
    before = path.stat()
    write([Docstring("a", "a.py", 1, "text")], path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    write([Docstring("a", "a.py", 1, "another text")], path)
    assert "another text" in path.read_text()
    assert list(tmp_path.iterdir()) == [path]
