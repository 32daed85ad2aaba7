"""completion: a script for a shell; options are in it, runs and shards it looks up itself, without starting Python."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from launcher.catalogue.catalogue import built_in
from launcher.commands.chosen_run import profile_folder
from launcher.commands.printer import Printer
from launcher.runs.find import RUNS_FOLDER

# Programs of sh, without a ' and the same in the quotes of all three shells. A sweep is named in the small one of two files.
_NAMES = (
    'for p in {plans}; do [ -e "$p" ] && d=${{p%/plan.json}} && echo "${{d##*/}}"; done; '
    'sed -n "/^sweep: null$/d; s/^sweep: \\([A-Za-z0-9._-]*\\)$/\\1/p" {configs} 2>/dev/null | sort -u'
)
_SHARDS = (
    'for p in "$1" {named}; do [ -e "$p/plan.json" ] || continue; '
    'sed -n "s/^ \\"boundaries\\": \\[\\[\\(.*\\)\\]\\],*$/\\1/p" "$p/plan.json" | tr "]" "\\n" '
    '| awk -F, "NF > 1 {{ n += \\$NF }} END {{ for (i = 0; i < n && i < 1000; i++) print i }}"; exit; done'
)
_BASH = """\
_launcher_names() {{ sh -c '{names}'; }}
_launcher_shards() {{ compgen -W "$(sh -c '{shards}' sh "${{COMP_WORDS[COMP_CWORD-1]}}")" -- "$1"; }}
_launcher_configs() {{ compgen -f -X '!*.y*ml' -- "$1"; compgen -d -- "$1"; }}
_launcher_runs() {{ compgen -W "$(_launcher_names)" -- "$1"; _launcher_configs "$1"; }}
"""
_ZSH = """\
_launcher_names() {{ sh -c '{names}'; }}
_launcher_shards() {{ compadd -- ${{(f)"$(sh -c '{shards}' sh "${{words[CURRENT-1]}}")"}}; }}
_launcher_configs() {{ _files -g '*.(yaml|yml)'; }}
_launcher_runs() {{ compadd -- ${{(f)"$(_launcher_names)"}}; _launcher_configs; }}
"""
_FISH = """\
function _launcher_names; sh -c '{names}'; end
function _launcher_shards; sh -c '{shards}' sh (commandline -opc)[-1]; end
function _launcher_configs; __fish_complete_suffix .yaml; end
function _launcher_runs; _launcher_names; _launcher_configs; end
"""
_PREAMBLES = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_OWN = {"RUN": "runs", "CONFIG|RUN": "runs", "CONFIG": "configs", "SHARD": "shards"}


def completion(options: argparse.Namespace, printer: Printer) -> bool:
    import shtab

    parser, commands = options.parsers
    for command in commands.values():
        for action in command._actions:
            _mark(action, commands)
    script = shtab.complete(parser, options.shell, root_prefix="launcher", preamble=_preamble(options.shell))  # type: ignore[arg-type]
    if not options.json:
        print(script)
    printer.document(script=script)
    return True


def _mark(action: argparse.Action, commands: Iterable[str]) -> None:
    """Says what an argument is completed with, by what it is called."""
    import shtab

    name = str(action.metavar)
    if own := _OWN.get(name):
        function = f"_launcher_{own}"
        action.complete = {"bash": function, "zsh": function, "fish": f"({function})"}  # type: ignore[attr-defined]
    elif name == "FOLDER":
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    elif name in ("FILE", "PATH", "MANIFEST"):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif words := _words(name, action.dest, commands):
        action.complete = shtab.cmd(f"echo {' '.join(dict.fromkeys(words))} | tr ' ' '\\n'")  # type: ignore[attr-defined]


def _words(name: str, dest: str, commands: Iterable[str]) -> Iterable[str]:
    """What an argument may be that is one of a few words."""
    if name == "JOB":
        return (entry.path.partition(":")[0].removeprefix("jobs.") for entry in built_in())
    if dest == "format":
        from launcher.export.export import FORMATS  # it imports numpy

        return FORMATS
    return commands if name == "COMMAND" else ()


def _preamble(shell: str) -> dict[str, str]:
    """The functions that look for runs: below ./runs, and where profiles put them now."""
    folders = [str(RUNS_FOLDER), *filter(None, [_quoted(profile_folder())])]
    plans, configs = (" ".join(f"{folder}/*/{name}" for folder in folders) for name in ("plan.json", "config.yaml"))
    names = _NAMES.format(plans=plans, configs=configs)
    shards = _SHARDS.format(named=" ".join(f'{folder}/"$1"' for folder in folders))
    return {shell: _PREAMBLES[shell].format(names=names, shards=shards)}


def _quoted(folder: Path | None) -> str | None:
    """For a program of sh in single quotes; None for a folder whose name has what these shells would read otherwise."""
    text = os.fspath(folder) if folder else ""
    return f'"{text}"' if text and not set(text) & set("'\"\\$`!\n") else None
