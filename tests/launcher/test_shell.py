"""In the shell: help with examples, man pages, completions in the shells that there are."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.arguments import make_parser, parse
from launcher.cli import main
from launcher.examples import EXAMPLES
from tests.support.launcher_runs import environment, write_config

PARSERS = make_parser()[1]


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs."""
    config = write_config(tmp_path_factory.mktemp("shell"), 100, shards=4)
    assert main(["plan", str(config), "--sweep", "data.shards=4,12"]) == 0
    return config.parent


@pytest.fixture
def folder(planned: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as working directory."""
    monkeypatch.chdir(planned)
    return planned


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> Path:
    capsys.readouterr()
    assert main(["completion", shell]) == 0
    path = Path(f"completion.{shell}")
    path.write_text(capsys.readouterr().out)
    return path


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("command", PARSERS)
def test_help_of_each_command_ends_with_two_examples_that_it_takes(command: str) -> None:
    examples = EXAMPLES[command]
    assert len(examples) == 2
    text = PARSERS[command].format_help()
    for does, typed in examples:
        assert f"  # {does}\n  {typed}\n" in text
        inner = re.sub(r'^eval "\$\((.*)\)"$', r"\1", re.split(r" [|>] ", typed)[0])
        assert parse(shlex.split(inner)[1:]).command == command


def bash(words: str) -> list[str]:
    """What bash offers for the last word of a line."""
    program = (
        f"source completion.bash; COMP_WORDS=({words} ''); [[ '{words}' == *' ' ]] || unset 'COMP_WORDS[-1]'; "
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _shtab_launcher launcher; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    return output("bash", "-c", program).split()


def test_bash_completes_commands_flags_runs_configs_and_shards(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script("bash", capsys)
    assert bash("launcher pla") == ["plan"]
    assert bash("launcher plan --sw") == ["--sweep"]
    assert sorted(bash("launcher status toy")) == ["toy", "toy-12", "toy-4"]
    assert bash("launcher plan conf") == ["config.yaml"]
    assert bash("launcher logs toy-4 ") == ["0", "1", "2", "3"]
    assert bash("launcher logs runs/toy-12 1") == ["1", "10", "11"]
    assert "image_embedding" in bash("launcher init ")
    assert bash("launcher export toy out --format p") == ["parquet"]
    assert bash("launcher man stat") == bash("launcher schema --document stat") == ["status"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_completes_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script("fish", capsys)

    def offered(line: str) -> list[str]:
        found = output("fish", "--no-config", "-c", f"source completion.fish; complete -C {shlex.quote(line)}")
        return [word.partition("\t")[0] for word in found.splitlines()]

    assert offered("launcher pla") == ["plan"]
    assert offered("launcher plan --sw") == ["--sweep"]
    assert sorted(offered("launcher status toy")) == ["toy", "toy-12", "toy-4"]
    assert offered("launcher logs toy-4 ") == ["0", "1", "2", "3"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_completes_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a terminal, since zsh completes only there: the whole line is printed once Tab has completed it."""
    script("zsh", capsys)
    Path(".zshrc").write_text(
        "autoload -Uz compinit; compinit -u -D; source ./completion.zsh; compdef _shtab_launcher launcher\n"
        "launcher() { print -r -- \"ran: $*\"; exit; }\nPS1='ready> '\n"
    )

    line = "launcher lo\ttoy-1\t11\t\n"
    done = subprocess.run(
        [sys.executable, "-c", TYPING, line],
        env={**environment(), "ZDOTDIR": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ran: logs toy-12 11" in done.stdout, done.stdout


TYPING = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("zsh", ["zsh", "-i"])
seen = b""
while b"ready> " not in seen:
    seen += os.read(terminal, 4096)
os.write(terminal, sys.argv[1].encode())
try:
    while chunk := os.read(terminal, 4096):
        seen += chunk
except OSError:
    pass
print(seen.decode(errors="replace"))
"""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_folder_of_runs_that_a_profile_names_is_looked_at_too(
    folder: Path, shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("profile.yaml").write_text(f"runs: {folder}/runs\n")
    Path("there").mkdir(exist_ok=True)
    monkeypatch.setenv("LAUNCHER_PROFILE", str(folder / "profile.yaml"))
    monkeypatch.chdir(folder / "there")
    path = script(shell, capsys)
    (program,) = re.findall(r"names\S*? ?\{? ?;? ?sh -c '([^']*)'", path.read_text())
    assert output("sh", "-c", program).split() == ["toy-12", "toy-4", "toy"]


def test_each_command_has_a_man_page_that_man_reads(tmp_path: Path) -> None:
    pages = tmp_path / "man" / "man1"
    assert main(["man", "--output", str(pages)]) == 0
    assert {path.name for path in pages.iterdir()} == {"launcher.1", *(f"launcher-{name}.1" for name in PARSERS)}
    for path in pages.iterdir():
        text = path.read_text()
        assert "\n.SH EXAMPLES\n" in text or path.name == "launcher.1"
        assert not re.search(r"^'|^\.(?!TH|SH|TP|br)", text, re.MULTILINE)
    if shutil.which("mandoc"):
        assert output("mandoc", "-Tlint", "-W", "warning", *map(str, sorted(pages.iterdir()))) == ""
    if shutil.which("man"):
        read = output("man", "-l", str(pages / "launcher-plan.1"))
        assert "launcher-plan" in read
        assert "launcher plan config.yaml --set executor=slurm --script" in read


def test_man_prints_one_page(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["man", "plan"]) == 0
    assert capsys.readouterr().out.startswith('.TH "LAUNCHER-PLAN" "1"')
    assert main(["man"]) == 0
    assert "launcher\\-plan\\fR(1)" in capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal, where Python 3.14 colours what a command takes
    assert main(["man", "plan"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert main(["man", "pln"]) == 2
    assert "no command 'pln'; did you mean plan?" in capsys.readouterr().err
