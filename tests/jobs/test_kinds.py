"""Kinds: their words stand in one module, what a newer version wrote is read, and mypy finds one that is forgotten."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import pytest

from jobs.kinds import EndReason, FailureKind, RunState, SampleFailureKind, ShardState, Unknown, known
from jobs.storage.beats import Beat
from jobs.storage.journal import decode, encode
from jobs.storage.records import Commit, Commits, FailedSample
from tests.support.launcher_runs import ROOT

WORDS: tuple[type[StrEnum], ...] = (FailureKind, SampleFailureKind, EndReason, ShardState, RunState)
KINDS = {*FailureKind, *SampleFailureKind}
STATES = {*EndReason, *ShardState, *RunState}
MODULES = [path for package in ("jobs", "launcher") for path in sorted((ROOT / package).rglob("*.py"))]
# Slurm has words of its own, some of them the same.
SLURM_STATES = [f"launcher/slurm/{name}.py" for name in ("accounting", "element_failures", "elements", "step_messages")]


@pytest.mark.parametrize("words", WORDS)
def test_a_word_is_its_text_in_messages_and_in_json(words: type[StrEnum]) -> None:
    for word in words:
        assert f"{word}" == word.value
        assert json.loads(json.dumps({word: word})) == {word.value: word.value}
        assert known(words, word.value) is word


def test_the_words_are_those_that_journals_and_documents_always_had() -> None:
    assert {word.value for word in KINDS} == {
        "OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "CANCELLED", "LAUNCH", "CRASH", "ERROR",
        "TOO_MANY_FAILED_SAMPLES", "DISK", "LOST", "STALLED", "LOAD", "PROCESS", "SAMPLE_TIMEOUT",
    }  # fmt: skip
    assert [word.value for word in EndReason] == ["done", "stopped", "failed"]
    assert {word.value for word in ShardState} == {"pending", "running", "done", "failed"}
    assert {word.value for word in RunState} == {"planned", "running", "complete", "incomplete", "failed", "cancelled"}


def test_a_word_of_a_newer_version_keeps_its_text() -> None:
    beat = Beat(1, 1.5, end=Unknown("moved"), kind=Unknown("MELTED"), message="too hot")
    commits = Commits((Commit(0, 1, failed=(FailedSample(0, Unknown("FROZEN"), "too cold"),)),))
    for record in (beat, commits):
        found = decode(encode(record).rstrip())
        assert found == record
        assert found.to_json() == record.to_json()
    assert isinstance(known(FailureKind, "MELTED"), Unknown)


# --- nowhere else


def constants(tree: ast.AST) -> Iterator[ast.Constant]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


def compared(tree: ast.AST) -> Iterator[ast.Constant]:
    """Texts that something is compared with: one alone, or a list of nothing but states (others list keys)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            is_equation = isinstance(node.ops[0], ast.Eq | ast.NotEq)
            listed = list(constants(node.comparators[0]))
            if is_equation or (len(listed) > 1 and all(text.value in STATES for text in listed)):
                yield from constants(node)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_module_spells_a_kind_or_compares_with_the_text_of_a_state(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    if name in ("jobs/kinds.py", *SLURM_STATES):
        return
    tree = ast.parse(path.read_text())
    spelled = [(text.lineno, text.value) for text in constants(tree) if text.value in KINDS]
    spelled += [(text.lineno, text.value) for text in compared(tree) if text.value in STATES]
    assert spelled == []


# --- forgotten


def match_over(words: type[StrEnum], members: Sequence[StrEnum]) -> str:
    """A module with a match over these members of a kind."""
    cases = "\n".join(f"        case {words.__name__}.{member.name}:\n            return 1" for member in members)
    return (
        f"from typing import assert_never\n\nfrom jobs.kinds import {words.__name__}\n\n\n"
        f"def number(kind: {words.__name__}) -> int:\n    match kind:\n{cases}\n"
        "        case _:\n            assert_never(kind)\n"
    )


def test_mypy_finds_a_kind_that_a_match_forgets(tmp_path: Path) -> None:
    whole, forgetful = tmp_path / "whole.py", tmp_path / "forgetful.py"
    whole.write_text(match_over(FailureKind, list(FailureKind)))
    forgetful.write_text(match_over(FailureKind, [kind for kind in FailureKind if kind is not FailureKind.PREEMPTED]))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(whole), str(forgetful)]
    (said, count) = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    assert "forgetful.py" in said
    assert "FailureKind.PREEMPTED" in said
    assert "assert_never" in said
    assert count.startswith("Found 1 error in 1 file")


def test_the_table_of_kinds_is_a_match_that_mypy_checks() -> None:
    text = (ROOT / "launcher" / "runs" / "causes.py").read_text()
    assert text.count("match kind:") == text.count("assert_never(kind)") == 2
