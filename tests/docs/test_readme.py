"""The README tells the truth: its commands run, in their order; its tables and that of docs/config.md are those of the code.

What installs something (`make ...`) is not run, but the targets must be there, and what `make demo` runs after installing
is run on fewer samples.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from demo.docstrings import collect, write
from launcher.arguments import make_parser
from launcher.config.config import Config
from launcher.manifest.formats import KINDS
from tests.slurm_cluster import SlurmCluster
from tests.support.launcher_runs import ROOT

README = (ROOT / "README.md").read_text()
CONFIG = (ROOT / "docs" / "config.md").read_text()
SAMPLES = 48
_FLAG = r"(?<![\w-])--?[a-z][a-z-]*"
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Block:
    """A fenced block: the heading it stands under, its language, its text."""

    section: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for section in re.split(r"^## ", README, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", body, re.MULTILINE | re.DOTALL):
            yield Block(heading, language, text)


def texts(section: str, language: str) -> list[str]:
    found = [block.text for block in blocks() if (block.section, block.language) == (section, language)]
    assert found, f"the README has no {language} block under {section!r}"
    return found


def commands(section: str) -> list[str]:
    """The shell commands of a section, one a line."""
    lines = (line.strip() for text in texts(section, "sh") for line in text.splitlines())
    return [line for line in lines if line]


def rows(section: str) -> list[list[str]]:
    """The cells of the table of a README's section, without its head."""
    return cells(README.partition(f"\n## {section}\n")[2].partition("\n## ")[0])


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def sh(command: str, folder: Path, **variables: str) -> str:
    """Runs a command of the README as a reader would, with `.venv` active; returns what it prints."""
    path = os.pathsep.join([str(BIN), variables.pop("PATH", os.environ["PATH"])])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables, "PATH": path}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of the repository the README's commands use; the demo has one shard, since each array task imports torch."""
    for name in ("demo", "jobs"):
        (tmp_path / name).symlink_to(ROOT / name)
    config = (ROOT / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(re.sub(r"shards: \d+", "shards: 1", config))
    return tmp_path


@pytest.fixture(scope="module")
def docstrings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's manifest, of one package and cut short; tests/demo has it of the whole library."""
    folder = tmp_path_factory.mktemp("docstrings")
    shutil.copytree(Path(sysconfig.get_path("stdlib"), "email"), folder / "library" / "email")
    write(collect(folder / "library")[:SAMPLES], folder / "docstrings.csv")
    return folder / "docstrings.csv"


@pytest.fixture
def demo(checkout: Path, docstrings: Path) -> Path:
    """The same with that manifest."""
    (checkout / "data").mkdir()
    shutil.copy(docstrings, checkout / "data")
    return checkout


def test_the_readme_is_one_that_people_read_to_its_end() -> None:
    assert len(README.splitlines()) <= 200


def test_every_block_of_commands_is_run_or_checked_here() -> None:
    assert {block.section for block in blocks() if block.language == "sh"} == {"Start", "On Slurm", "Your own Job"}
    assert {block.language for block in blocks()} <= {"", "sh", "python", "yaml"}


@pytest.mark.parametrize("command", commands("Start"))
def test_the_commands_that_set_up_are_targets_of_make(command: str) -> None:
    words = command.split()
    assert words[0] == "make"
    assert sh(f"{command} --dry-run", ROOT)


def test_what_the_demo_runs_finds_neighbours(demo: Path) -> None:
    recipe = [line for line in sh("make demo --dry-run --always-make", ROOT).splitlines() if "pip " not in line]
    steps = [line.removeprefix(".venv/bin/") for line in recipe if "launcher run" in line or "neighbours" in line]
    assert [step.split()[0] for step in steps] == ["launcher", "python"]
    shown = [sh(step, demo) for step in steps]
    assert f"complete: {SAMPLES} of {SAMPLES} samples (100%), shards 1 done" in shown[0]
    assert f"{SAMPLES} embeddings of 384 numbers; nearest to 'parse a JSON document':" in shown[1]


def test_the_job_of_the_readme_runs_and_its_results_are_read(checkout: Path) -> None:
    for text in texts("Your own Job", "python") + texts("Your own Job", "yaml"):
        name = re.fullmatch(r"# (\S+)", text.splitlines()[0])
        assert name, "the first line of a file in the README is its name"
        (checkout / name[1]).write_text(text)
    shown = [sh(command, checkout) for command in commands("Your own Job")]
    assert "complete: " in shown[-1]
    (script,) = texts("From Python", "python")
    (checkout / "from_python.py").write_text(script)
    assert sh("python from_python.py", checkout).endswith("\ncomplete\n")
    (script,) = texts("Results", "python")
    (checkout / "read.py").write_text(script)
    files = len(list((ROOT / "jobs").rglob("*.py")))
    assert f"({files}, 256)" in sh("python read.py", checkout)


@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_the_commands_of_the_slurm_section_run_on_slurm(clean_slurm: SlurmCluster, demo: Path) -> None:
    config = demo / "config.yaml"
    config.write_text(f"{config.read_text()}slurm: {{mem: 2G}}\n")
    shown = {line: sh(line, demo, **clean_slurm.env) for line in commands("On Slurm")}
    printed = list(shown.values())
    assert "#SBATCH --array=0-0%256" in printed[0]
    assert "Slurm job " in printed[1]
    assert f"complete: {SAMPLES} of {SAMPLES} samples" in printed[2]
    assert "every shard is done" in printed[3]
    assert "0 damaged" in printed[4]
    assert "intact" in printed[4]


def test_the_table_of_commands_is_the_command_line() -> None:
    _, parsers = make_parser()
    told = {row[0].strip("`").split()[1]: row[0] for row in rows("Commands")}
    assert told.keys() == parsers.keys()
    for name, text in told.items():
        flags = set(re.findall(_FLAG, parsers[name].format_usage()))
        assert set(re.findall(_FLAG, text)) == flags - {"-h", "--json", "--set"}, name


def keys(model: type[BaseModel], above: str = "") -> dict[str, Any]:
    """All keys of a config and their defaults, as YAML writes them; "" for those that must be given."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        key = above + (field.alias or name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= keys(inner, f"{key}.")
        else:
            found[key] = "" if field.is_required() else written(field.default)
    return found


def written(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    if isinstance(value, float):
        return f"`{value:g}`"
    listed = list(value) if isinstance(value, tuple) else value
    return f"`{words[listed] if isinstance(listed, bool | None) else listed}`"


def test_the_table_of_keys_is_the_config() -> None:
    told = {row[0].strip("`"): row[1] for row in cells(CONFIG)}
    del told["slurm.<option>"]
    expected = keys(Config)
    del expected["slurm.options"]
    assert told == expected


def test_every_format_of_manifests_is_named() -> None:
    (row,) = [row for row in cells(CONFIG) if row[0] == "`data.manifest`"]
    assert f"a {KINDS}" in row[2]


def test_every_template_is_named() -> None:
    (row,) = [row for row in cells(CONFIG) if row[0] == "`slurm.template`"]
    templates = {path.stem for path in (ROOT / "slurm_templates").glob("*.sbatch")} - {"finalize"}
    assert templates == set(re.findall(r"\w+", row[2].partition(", or")[0]))


@pytest.mark.parametrize("folder", ["jobs", "launcher"])
def test_the_architecture_names_every_module(folder: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = {path.name for path in (ROOT / folder).rglob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name for name in modules if not re.search(rf"(?<![\w]){re.escape(name)}", text)} == set()


def test_every_dependency_is_accounted_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [name for group in groups for name in group]
    names = {re.split(r"[\[<>=~!;]", name)[0] for name in wanted} - {"shardrun"}
    told = {cell for row in dependency_rows() for cell in re.findall(r"`([^`]+)`", row[0])}
    assert told == names


def dependency_rows() -> list[list[str]]:
    """The rows of the tables of packages that are used."""
    lines = (ROOT / "docs" / "dependencies.md").read_text().partition("## Not used")[0].splitlines()
    return [line.strip("|").split("|") for line in lines if line.startswith("| `")]
