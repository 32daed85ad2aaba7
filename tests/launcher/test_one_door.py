"""Slurm is behind one door: outside of it no code names it, by a string, a name or an import; comments may."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.launcher_runs import ROOT

WORDS = re.compile(r"slurm|sbatch|squeue|sacct|scontrol|scancel", re.IGNORECASE)
DOORS = {
    "launcher/slurm",
    "launcher/slurm_finalize.py",  # the scripts of runs start the finalize job by this name
    "jobs/machine/allocation.py",
    "jobs/node/supervisor/slurm_job.py",
}
# What users write and read: the section of the config, the help of the commands, names of files in a run; and the two
# places that open the door.
EXCEPTED = {
    "launcher/arguments.py",
    "launcher/commands/manual.py",
    "launcher/examples.py",
    "launcher/config/config.py",
    "launcher/config/conflicts.py",
    "launcher/config/includes.py",
    "launcher/config/origins.py",
    "launcher/config/problems.py",
    "launcher/config/profiles.py",
    "launcher/config/sbatch_options.py",
    "launcher/config/sections.py",
    "launcher/config/variables.py",
    "launcher/config/yaml_lines.py",
    "launcher/catalogue/blank.py",
    "launcher/catalogue/config_schema.py",
    "launcher/plan/new_plan.py",
    "launcher/probe/advice.py",
    "launcher/probe/config_writer.py",
    "jobs/storage/rundir.py",
    "launcher/executors.py",
    "jobs/node/supervisor/entry_point.py",
}


def sources() -> list[str]:
    found = (path.relative_to(ROOT) for package in ("launcher", "jobs") for path in (ROOT / package).rglob("*.py"))
    return sorted(str(path) for path in found if not {str(path), *map(str, path.parents)} & DOORS)


def words(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of all names and strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            if isinstance(text := getattr(node, field, None), str):
                yield line, text
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield line, node.value


@pytest.mark.parametrize("path", sorted(set(sources()) - EXCEPTED))
def test_no_code_outside_the_door_names_slurm(path: str) -> None:
    assert [(line, text) for line, text in words(ROOT / path) if WORDS.search(text)] == []


@pytest.mark.parametrize("path", sorted(EXCEPTED))
def test_an_exception_is_one(path: str) -> None:
    assert any(WORDS.search(text) for _, text in words(ROOT / path)), "it names it no more: strike it from the list"


@pytest.mark.parametrize("path", sources())
def test_no_code_asks_which_executor_it_has(path: str) -> None:
    """``executor.name == "local"``: what differs is a member of the protocol."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = [ast.unparse(side) for side in sides if not isinstance(side, ast.Constant)]
            is_text = any(isinstance(side, ast.Constant) and isinstance(side.value, str) for side in sides)
            assert not (is_text and any("executor" in name for name in names)), ast.unparse(node)
