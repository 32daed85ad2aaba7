"""Template: a legal sbatch script + computed directives -> the submission script. Pure.

A template is one of slurm_templates/ or a site's own working script: its #SBATCH lines are kept, the config's options win
over them, and the launcher's computed ones over both. A line ``# launcher: command`` says where the command goes (at
the end, where there is none). What cannot be meant is an error, not a surprise.
"""

import shlex
from collections.abc import Collection, Mapping
from importlib import resources
from pathlib import Path

from jobs.errors import InputError
from launcher.config.sbatch_options import ALIASES, GPU_OPTIONS, OPTIONS, asks_for_gpu, ousted

MARKER = "# launcher: command"
_DIRECTIVE = "#SBATCH"
# sbatch(1): the short forms of its options.
_SHORT = {
    "-A": "account", "-a": "array", "-b": "begin", "-C": "constraint", "-c": "cpus-per-task", "-d": "dependency",
    "-D": "chdir", "-e": "error", "-F": "nodefile", "-G": "gpus", "-H": "hold", "-h": "help", "-i": "input",
    "-J": "job-name", "-k": "no-kill", "-L": "licenses", "-M": "clusters", "-m": "distribution", "-N": "nodes",
    "-n": "ntasks", "-O": "overcommit", "-o": "output", "-p": "partition", "-Q": "quiet", "-q": "qos",
    "-S": "core-spec", "-s": "oversubscribe", "-t": "time", "-u": "usage", "-V": "version", "-v": "verbose",
    "-W": "wait", "-w": "nodelist", "-x": "exclude", "-B": "extra-node-info",
}  # fmt: skip
_REFUSED = {
    "wrap": "a template is a script of its own",
    "test-only": "sbatch would submit nothing",
    "help": "sbatch would submit nothing",
    "usage": "sbatch would submit nothing",
    "version": "sbatch would submit nothing",
    "wait": "submitting would wait for the whole run",
    "parsable": "it belongs to the command line",
}

_FINALIZE = "finalize"

Options = dict[str, str | None]


def array_template(name: str, path: Path | None) -> "Template":
    """The template of array tasks: the site's script at ``path``, else one of ours."""
    if path is not None:
        try:
            # Byte for byte: sbatch and bash ask for no encoding, and a comment may have an old one.
            return Template(path.read_bytes().decode(errors="surrogateescape"), str(path))
        except OSError as error:
            raise InputError(f"slurm.template: {path}: cannot be read: {error.strerror}") from None
    files = (file.name for file in resources.files("slurm_templates").iterdir())
    names = sorted({file.removesuffix(".sbatch") for file in files if file.endswith(".sbatch")} - {_FINALIZE})
    if name not in names:
        raise InputError(
            f"slurm.template: {name!r} is not there; valid: {', '.join(names)}, or the path of an sbatch script"
        )
    return _shipped(name)


def finalize_template() -> "Template":
    """The template of finalize jobs."""
    return _shipped(_FINALIZE)


def _shipped(name: str) -> "Template":
    file = f"{name}.sbatch"
    return Template((resources.files("slurm_templates") / file).read_text(), f"slurm_templates/{file}")


class Template:
    """A parsed template: its options, and the lines around the place of the command."""

    def __init__(self, text: str, name: str) -> None:
        """Raises InputError, with name and line, where sbatch would not take the text or not mean what it says."""
        self.name = name
        self.options: Options = {}
        self._numbers: dict[str, int] = {}
        self._lines: list[str] = []
        lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
        if not lines[0].startswith("#!"):
            raise InputError(f"{name}:1: an sbatch script must begin with #!, such as #!/bin/bash")
        self.shebang = lines[0]
        body_began = False
        for number, line in enumerate(lines[1:], start=2):
            if line.startswith(_DIRECTIVE):
                self._add_directive(line, number, body_began)
            else:
                body_began |= bool(line.strip()) and not line.startswith("#")
                self._lines.append(line)

    def _add_directive(self, line: str, number: int, body_began: bool) -> None:
        where = f"{self.name}:{number}"
        if body_began:
            raise InputError(f"{where}: {line!r} comes after the first command, so sbatch ignores it; move it up")
        for option, value in _parse_directive(line, where).items():
            if option in _REFUSED:
                raise InputError(f"{where}: --{option} does not fit here: {_REFUSED[option]}")
            _set(self.options, option, value)
            self._numbers[option] = number

    def where(self, option: str) -> str:
        """File and line of an option."""
        return f"{self.name}:{self._numbers[option]}"

    def mentions(self, word: str) -> bool:
        """Whether the script itself uses a variable."""
        return any(word in line for line in self._lines if not line.startswith("#"))

    def render(self, options: Mapping[str, str | None], command: str, before: str = "") -> str:
        """The script: these options, and the command at its place; ``before`` all else that it does.

        Raises InputError for a value of more than one line: what comes after the first would be a command.
        """
        if longer := [name for name, value in options.items() if len((value or "").splitlines()) > 1]:
            raise InputError(f"--{longer[0]}: {options[longer[0]]!r} is not one line, as a directive of sbatch must be")
        directives = [
            f"{_DIRECTIVE} --{name}" if value is None else f"{_DIRECTIVE} --{name}={_quoted(value)}"
            for name, value in options.items()
        ]
        lines = [MARKER if line.strip() == MARKER else line for line in self._lines]
        if MARKER not in lines:
            lines += ["", MARKER]
        place = lines.index(MARKER)
        first = [before] if before else []
        return "\n".join([self.shebang, *directives, *first, *lines[:place], command, *lines[place + 1 :]]) + "\n"


def merge(options: Options, over: Mapping[str, str | None], without: Collection[str] = ()) -> Options:
    """``options``, less those named in ``without``, and others over them."""
    merged = {name: value for name, value in options.items() if name not in without}
    for name, value in over.items():
        _set(merged, name, value)
    return merged


def _quoted(value: str) -> str:
    """As sbatch reads it: quotes as a shell has them, but a backslash takes the next sign as it is within them, too."""
    return shlex.quote(value.replace("\\", "\\\\"))


def _unquoted(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split = True
    lexer.escapedquotes = "\"'"
    return list(lexer)


def _parse_directive(line: str, where: str) -> Options:
    """``#SBATCH -p long --mem=4G`` -> {partition: long, mem: 4G}."""
    try:
        words = _unquoted(line.removeprefix(_DIRECTIVE))
    except ValueError as error:
        raise InputError(f"{where}: {line!r}: {error}") from None
    found: Options = {}
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            raise InputError(f"{where}: {word!r} is no option; #SBATCH lines hold options such as --mem=4G")
        name, value = _split(word)
        if name is None:
            raise InputError(f"{where}: {word!r} is no option of sbatch")
        if value is None and words and not words[0].startswith("-"):
            value = words.pop(0)
        # sbatch takes any beginning that fits only one option: getopt_long(3).
        known = [option for option in OPTIONS if option.startswith(name)]
        full = known[0] if name not in OPTIONS and len(known) == 1 else name
        found[ALIASES.get(full, full)] = value
    return found


def _split(word: str) -> tuple[str | None, str | None]:
    """Name and value of ``--mem=4G``, ``--requeue``, ``-p``, ``-plong``."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        return name.replace("_", "-"), value if equals else None
    return _SHORT.get(word[:2]), word[2:].removeprefix("=") or None


def _set(options: Options, name: str, value: str | None) -> None:
    """Sets an option and removes those that cannot stand beside it."""
    for rival in ousted(name, value or ""):
        options.pop(rival, None)
    if name in GPU_OPTIONS:
        # ``gres`` may also ask for local disks, licenses and the like: those stay.
        others = [item for item in (options.get("gres") or "").split(",") if item and not asks_for_gpu(item)]
        if others:
            options["gres"] = ",".join(others)
        else:
            options.pop("gres", None)
    options[name] = value


def shown_options(options: Options) -> str:
    """In words, for a line of plan or doctor."""
    return ", ".join(name if value is None else f"{name}={value}" for name, value in sorted(options.items()))
