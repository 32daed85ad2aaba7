"""Tables of pages are those of the code, and their examples are valid; those that run something, run."""

import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from jobs import exit_codes
from jobs.kinds import FailureKind, SampleFailureKind
from launcher.arguments import make_parser
from launcher.config.config import load_config
from launcher.runs.causes import NextAttempt, cause
from tests.docs.test_readme import cells
from tests.slurm_cluster import SlurmCluster
from tests.support import doc_pages, json_page
from tests.support.launcher_runs import ROOT, write_config

BY_ITSELF = {
    NextAttempt.NONE: "no",
    NextAttempt.THE_SAME: "again",
    NextAttempt.MORE_MEMORY: "again with more memory",
    NextAttempt.MORE_TIME: "again with more time",
    NextAttempt.ANOTHER_NODE: "again, elsewhere",
}
PAGES = sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))


def test_the_page_of_failures_has_every_kind_and_what_is_done_about_it() -> None:
    samples = cells(doc_pages.read("failures.md", "Samples"))
    assert {row[0].strip("`") for row in samples} == set(SampleFailureKind)
    attempts = {row[0].strip("`"): row[2] for row in cells(doc_pages.read("failures.md", "Attempts and shards"))}
    assert attempts.keys() == set(FailureKind)
    for kind in FailureKind:
        told = cause(kind)
        assert re.split("[:;]", attempts[kind])[0] == BY_ITSELF[told.next_attempt], kind
        assert ("costs no attempt" in attempts[kind]) == (not told.costs_attempt), kind


def test_the_page_of_exit_codes_has_all() -> None:
    page = doc_pages.read("reference/exit-codes.md")
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert told == {value for name, value in vars(exit_codes).items() if name.isupper()}


def test_the_page_of_installing_has_the_extras_for_users() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = cells(doc_pages.read("install.md", "What for"))
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert told == groups.keys() - {"all", "benchmark", "demo", "docs", "test"}


def test_the_page_of_documents_is_made_of_their_types() -> None:
    assert json_page.PAGE.read_text() == json_page.page(), "python -m tests.support.json_page writes it anew"


@pytest.mark.parametrize("page", ["coming-from.md", "gpus.md", "tutorial.md"])
def test_configs_of_pages_are_valid(page: str, tmp_path: Path) -> None:
    found = [block for block in doc_pages.blocks(doc_pages.read(page)) if block.language == "yaml"]
    assert found
    for block in found:
        assert block.file
        (tmp_path / block.file).write_text(block.text)
        load_config(tmp_path / block.file)


def test_the_profile_for_a_site_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = doc_pages.read("admins.md")
    (profile,) = [block for block in doc_pages.blocks(page) if block.language == "yaml"]
    (tmp_path / "site.yaml").write_text(profile.text)
    monkeypatch.setenv("LAUNCHER_PROFILE", str(tmp_path / "site.yaml"))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    config = load_config(write_config(tmp_path / "mine", 1))
    assert config.runs == str(tmp_path / "scratch" / "runs")
    assert YAML(typ="safe").load(profile.text)["slurm"]["partition"] == "standard"


@pytest.mark.parametrize("page", PAGES)
def test_python_of_pages_is_python(page: str) -> None:
    for block in doc_pages.blocks(doc_pages.read(page)):
        if block.language == "python":
            compile(block.text, page, "exec", flags=0x2000)  # PyCF_ALLOW_TOP_LEVEL_AWAIT, as notebooks have it


def typed(page: str) -> Iterator[list[str]]:
    """The words of each command of the launcher in the blocks of a page."""
    for block in doc_pages.blocks(page):
        for line in block.text.splitlines() if block.language in ("", "sh") else ():
            found = re.search(r"(?:^|[\s;&])launcher\s([a-z]\S*[^;&|#>]*)", line)
            if found and " import " not in line and not re.match(r"launcher:|.*\w:.*launcher", line):
                yield ["0" if word in ("N", "SHARD") else word for word in shlex.split(found[1]) if word != "..."]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_pages_are_commands(page: str) -> None:
    parser, known = make_parser()
    text = doc_pages.read(page)
    for words in typed(text):
        parser.parse_args(words)
    for name, rest in re.findall(r"`launcher\s([a-z]+)\b([^`]*)`", text):
        flags = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest))
        assert flags <= {*re.findall(r"--?[a-z][a-z-]*", known[name].format_usage()), "--json", "--set"}, name


@pytest.mark.thorough
def test_what_people_come_from_runs_here(tmp_path: Path) -> None:
    for name in "ab":
        lines = [json.dumps({"id": f"{name}{length}", "text": "x" * length}) for length in range(1, 81)]
        (tmp_path / "documents").mkdir(exist_ok=True)
        (tmp_path / "documents" / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "files.txt").write_text("count.py\nkeep.py\n")
    page = doc_pages.read("coming-from.md")
    datatrove = doc_pages.read("coming-from.md", "From datatrove")
    assert "complete: 160 of 160 samples" in "".join(doc_pages.walk(datatrove, tmp_path))
    assert any((tmp_path / "kept").glob("*.parquet"))
    loop = page.partition("## From a loop around sbatch")[2]
    blocks = [block for block in doc_pages.blocks(loop) if not block.text.startswith("#!")]
    again = "".join(f"```{block.language}\n{block.text}```\n" for block in blocks)
    printed = doc_pages.walk(again, tmp_path)[-1]
    words = [len((tmp_path / name).read_text().split()) for name in ("count.py", "keep.py")]
    assert printed.splitlines()[-1] == str([f"{number}\n" for number in words])


@pytest.mark.thorough
@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
@pytest.mark.parametrize("name", ["with_submitit.py", "with_launcher.py"])
def test_submitit_and_this_compute_the_same(name: str, clean_slurm: SlurmCluster, tmp_path: Path) -> None:
    if name == "with_submitit.py":
        pytest.importorskip("submitit")
    (block,) = [block for block in doc_pages.blocks(doc_pages.read("coming-from.md")) if block.file == name]
    # As many array tasks as there are items take minutes here.
    (tmp_path / name).write_text(block.text.replace("range(200)", "range(12)"))
    printed = doc_pages.shell(f"python {name}", tmp_path, clean_slurm.env)
    assert printed.splitlines()[-1] == str(sum(number * number for number in range(12)))


@pytest.mark.thorough
@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_an_admin_finds_the_jobs_of_a_version(clean_slurm: SlurmCluster, tmp_path: Path) -> None:
    section = doc_pages.read("admins.md", "Upgrades while runs go on")
    (command,) = [block.text for block in doc_pages.blocks(section) if block.language == "sh"]
    write_config(tmp_path, 4, executor="slurm", slurm={"mem": "100M", "begin": "now+1hour"})
    doc_pages.shell("launcher submit config.yaml", tmp_path, clean_slurm.env)
    scripts = doc_pages.shell(command.replace("/apps/launcher/0.2.0", sys.prefix), tmp_path, clean_slurm.env)
    mine = [Path(script) for script in scripts.splitlines() if script.startswith(str(tmp_path))]
    assert {script.name for script in mine} == {"0001.sbatch", "0001.finalize.sbatch"}
    assert doc_pages.shell(command, tmp_path, clean_slurm.env, may_fail=True) == ""


@pytest.mark.thorough
def test_the_first_example_runs(tmp_path: Path) -> None:
    (block,) = doc_pages.blocks(doc_pages.read("index.md"))
    (tmp_path / "measure.py").write_text(block.text)
    assert doc_pages.shell("python measure.py", tmp_path).splitlines()[-1] == str(999 * 999)
