"""Pages of the documentation, done as a reader does them: files are written, commands run, and what they print is compared.

A block whose first line is ``# NAME.SUFFIX`` is a file; one of ``diff`` changes a file, named in its first line; one of
``sh`` is run, and a block without a language that follows it is what it prints, ``...`` standing for any lines.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.launcher_runs import ROOT
from tests.support.patience import PATIENCE

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w./-]+\.\w+)(?=[\n,;: ])")
# What differs from one machine and moment to the next.
_VARIABLE = [
    (r"/\S+/runs/", "RUNS/"),
    (r'"/\S+/(\w+\.py)"', r'"\1"'),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?", "DATE"),
    (r"\d+\.\d+ s\b", "SECONDS"),
    (r"process \d+", "process PID"),
    (r"Slurm job \d+", "Slurm job ID"),
    (r"\b[0-9a-f]{16}\b", "HASH"),
]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        found = _FILE.match(self.text)
        return found[1] if found and self.language else None


def blocks(page: str) -> list[Block]:
    return [Block(language, text) for language, text in _BLOCK.findall(page)]


def read(name: str, section: str | None = None) -> str:
    """A page of docs/, or what stands under one of its headings (of the second level or a lower one)."""
    text = (ROOT / "docs" / name).read_text()
    if section is None:
        return text
    heading = re.search(rf"^(##+) {re.escape(section)}\n", text, re.MULTILINE)
    assert heading, f"{name} has no section {section!r}"
    return re.split(rf"^#{{2,{len(heading[1])}}} ", text[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def walk(page: str, folder: Path, variables: Mapping[str, str] | None = None) -> list[str]:
    """Does all blocks of a page, in their order; returns what the commands printed."""
    printed: list[str] = []
    found = blocks(page)
    for block, after in zip(found, [*found[1:], Block("", "")], strict=True):
        if block.file:
            _write(folder / block.file, block.text)
        elif block.language == "diff":
            _change(folder, block.text)
        elif block.language == "sh":
            told = after.text if not after.language else ""
            printed.append(shell(block.text, folder, variables, may_fail=bool(told)))
            _compare(told, printed[-1])
    return printed


def shell(commands: str, folder: Path, variables: Mapping[str, str] | None = None, *, may_fail: bool = False) -> str:
    """What commands print, as in a terminal where the launcher is installed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, **(variables or {})}
    done = subprocess.run(
        ["bash", "-c", commands if may_fail else f"set -e\n{commands}"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert may_fail or done.returncode == 0, f"{commands}\n{done.stdout}"
    return done.stdout


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _change(folder: Path, diff: str) -> None:
    head, *lines = diff.splitlines(keepends=True)
    path = folder / head.removeprefix("--- ").strip()
    old, new = ("".join(line[1:] for line in lines if line.startswith((sign, " "))) for sign in "-+")
    text = path.read_text()
    assert text.count(old) == 1, f"{path} does not have what the page changes:\n{old}"
    path.write_text(text.replace(old, new))


def _compare(told: str, printed: str) -> None:
    shown, place = _constant(printed), 0
    for part in re.split(r"^\.\.\.$", told, flags=re.MULTILINE):
        expected = _constant(part).strip("\n")
        place = shown.find(expected, place)
        assert place >= 0, f"the page says\n{part}\nand it is\n{printed}"
        place += len(expected)


def _constant(text: str) -> str:
    for pattern, word in _VARIABLE:
        text = re.sub(pattern, word, text)
    return text
