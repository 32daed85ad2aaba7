import errno
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.storage.claims import Claim, ClaimFolder, holdings
from jobs.storage.files import write_once
from jobs.storage.spans import Spans
from tests.support.builders import flip_byte
from tests.support.launcher_runs import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> ClaimFolder:
    path = tmp_path / "0001.claims"
    path.mkdir()
    return ClaimFolder(path)


def test_a_claim_is_taken_once_and_reads_as_it_was_made(folder: ClaimFolder) -> None:
    claim, late = Claim(3, 1, "0001-00003-aaaaaaaa", 40, 80), Claim(3, 1, "0001-00005-bbbbbbbb", 40, 80)

    assert not folder.has(3, 1)
    assert folder.take(claim)
    assert not folder.take(late)

    assert folder.has(3, 1)
    assert folder.read() == [claim]
    assert folder.read_one(3, 1) == claim


def test_claims_are_listed_by_range_and_number(folder: ClaimFolder) -> None:
    claims = [Claim(range_, number, "a", 0, 8) for range_, number in [(0, 1), (0, 2), (0, 10), (2, 1), (1_000_000, 1)]]
    for claim in reversed(claims):
        assert folder.take(claim)
    (folder.path / "notes").touch()

    assert folder.read() == claims


@pytest.mark.parametrize("content", [b"", b"0123456789abcdef", b"junk\n"])
def test_a_claim_that_is_not_written_yet_is_left_out_and_cannot_be_taken(folder: ClaimFolder, content: bytes) -> None:
    (folder.path / "000000.1").write_bytes(content)

    assert folder.read() == []
    assert folder.read_one(0, 1) is None
    assert folder.has(0, 1)
    assert not folder.take(Claim(0, 1, "a", 0, 8))


def test_a_damaged_claim_is_left_out(folder: ClaimFolder) -> None:
    folder.take(Claim(0, 1, "a", 0, 8))
    for position in range((folder.path / "000000.1").stat().st_size - 1):
        flip_byte(folder.path / "000000.1", position)
        assert folder.read() == []
        flip_byte(folder.path / "000000.1", position)
    assert len(folder.read()) == 1


def test_a_submission_that_has_ended_has_no_claims_and_gives_none(folder: ClaimFolder) -> None:
    assert folder.is_open()
    folder.path.rmdir()

    assert not folder.is_open()
    assert folder.read() == []
    assert not folder.take(Claim(0, 1, "a", 0, 8))
    assert folder.has(0, 1)


CLAIMER = """
import json, sys
from pathlib import Path
from jobs.storage.claims import Claim, ClaimFolder
folder, name = ClaimFolder(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([n for n in range(200) if folder.take(Claim(n, 1, name, n, n + 1))]))
"""

ONCE = """
import json, sys
from pathlib import Path
from jobs.storage.files import write_once
folder, name = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps([n for n in range(40) if write_once(folder / str(n), name.encode() * 1000)]))
"""


def at_once(script: str, folder: Path, names: Sequence[str]) -> dict[str, list[int]]:
    """What processes of these names print when they do the same thing at the same time."""
    pipe = subprocess.PIPE
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", script, str(folder), name], stdin=pipe, stdout=pipe, text=True, cwd=ROOT
        )
        for name in names
    }
    for process in processes.values():
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes.values():
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return {name: json.loads(process.communicate()[0]) for name, process in processes.items()}


def test_of_several_processes_that_claim_at_once_one_gets_each_claim(folder: ClaimFolder) -> None:
    taken = at_once(CLAIMER, folder.path, "abcd")

    assert sorted(number for numbers in taken.values() for number in numbers) == list(range(200))
    assert {claim.range: claim.attempt for claim in folder.read()} == {
        number: name for name, numbers in taken.items() for number in numbers
    }


# --- what claims cover

claims = st.lists(
    st.builds(
        Claim, st.integers(0, 2), st.integers(1, 5), st.sampled_from("ab"), st.integers(0, 20), st.integers(0, 20)
    ),
    max_size=10,
    unique_by=lambda claim: (claim.range, claim.number),
)


@given(claims)
def test_a_row_belongs_to_the_newest_claim_of_its_range_that_covers_it(made: list[Claim]) -> None:
    found = holdings(made)

    assert found.keys() == set(made)
    for range_ in range(3):
        for row in range(20):
            covering = [claim for claim in made if claim.range == range_ and claim.start <= row < claim.stop]
            newest = max(covering, key=lambda claim: claim.number, default=None)
            assert [claim for claim, rows in found.items() if claim.range == range_ and row in rows] == (
                [newest] if newest else []
            )


def test_a_split_leaves_its_holder_the_rest() -> None:
    first, second, third = Claim(0, 1, "a", 0, 100), Claim(0, 2, "b", 60, 100), Claim(0, 3, "c", 80, 90)

    assert holdings([third, first, second]) == {
        first: Spans([(0, 60)]), second: Spans([(60, 80), (90, 100)]), third: Spans([(80, 90)]),
    }  # fmt: skip


# --- files that are made once


def test_a_file_is_written_once_and_whole(tmp_path: Path) -> None:
    assert write_once(tmp_path / "layout.json", b"one")
    assert not write_once(tmp_path / "layout.json", b"other")

    assert (tmp_path / "layout.json").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["layout.json"]


def test_a_file_that_is_written_once_is_for_all_who_may_read_the_folder(tmp_path: Path) -> None:
    write_once(tmp_path / "layout.json", b"one")
    (tmp_path / "plain").touch()
    assert (tmp_path / "layout.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_is_written_once_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    assert write_once(tmp_path / "layout.json", b"one")
    assert not write_once(tmp_path / "layout.json", b"other")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("layout.json", b"one")]


def test_of_several_processes_that_write_a_file_at_once_one_does(tmp_path: Path) -> None:
    written = at_once(ONCE, tmp_path, "abcd")

    assert sorted(number for numbers in written.values() for number in numbers) == list(range(40))
    for name, numbers in written.items():
        for number in numbers:
            assert (tmp_path / str(number)).read_bytes() == name.encode() * 1000
    assert len(list(tmp_path.iterdir())) == 40
