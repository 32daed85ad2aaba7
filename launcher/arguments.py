"""Arguments: the commands and their flags; which function of launcher.commands does what a command says is its default."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from jobs.errors import InputError
from jobs.nearest import guess, nearest
from launcher import __version__

_RUN_HELP = "run directory, run name, or config (default: the newest run below ./runs)"
_RUN_OR_SWEEP_HELP = _RUN_HELP.replace("run name", "name of a run or a sweep")
_DESCRIPTION = "Runs a Job over a large dataset on Slurm or on this machine; whatever happens, it can be resumed."
_EPILOG = (
    "Exit codes: 0 done and complete, 1 failed or incomplete, 2 bad input, 75 (run --once) it goes on, 130 interrupted."
)


_KINDS = {"int": "a whole number", "float": "a number"}


class _Parser(argparse.ArgumentParser):
    """Errors say what is nearest to what was typed; help ends with examples."""

    def format_help(self) -> str:
        from launcher.examples import examples_text  # few ask for it

        return super().format_help() + examples_text(self.prog.rpartition(" ")[2])

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"argument (\S+): invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if unknown:
            valid = re.findall(r"[\w-]+", unknown[3])
            message = f"no {unknown[1].lower()} {unknown[2]!r}{guess(unknown[2], valid)}"
        message = re.sub(
            r"invalid (\w+) value: (.*)", lambda found: f"must be {_KINDS[found[1]]}, not {found[2]}", message
        )
        raise InputError(f"{message}\nsee `{self.prog} --help`")


def make_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and those of the commands by name."""
    parser = _Parser("launcher", description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"launcher {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    made: dict[str, argparse.ArgumentParser] = {}

    def command(name: str, function: str, summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=f"{summary}.", allow_abbrev=False)
        added.add_argument("--json", action="store_true", help="one JSON document on stdout; messages go to stderr")
        added.set_defaults(function=function)
        made[name] = added
        return added

    _add_starting(command)
    _add_extending(command)
    _add_trying(command)
    _add_looking(command)
    _add_finishing(command)
    _add_beginning(command)
    _add_shell(command)
    return parser, made


_Command = Callable[[str, str, str], argparse.ArgumentParser]


def _add_starting(command: _Command) -> None:
    run = command("run", "run.run", "plan, submit, follow, and write the result")
    plan = command("plan", "planning.plan", "check everything and write the run directory; submits nothing")
    submit = command("submit", "start.submit", "submit what is not done, and return at once")
    rerun = command("rerun", "start.rerun", "a new submission of what is not done, and of nothing else")
    plan.add_argument("config", metavar="CONFIG", help="config.yaml")
    run.add_argument(
        "--once",
        action="store_true",
        help="for cron, without a finalize job: do what is due now; exit code 75: it goes on",
    )
    plan.add_argument("--script", action="store_true", help="print the sbatch script (Slurm)")
    for parser in (run, submit):
        parser.add_argument(
            "targets",
            metavar="CONFIG|RUN",
            nargs="+",
            help="config.yaml, run directory or run name; several: runs that come after each other",
        )
    rerun.add_argument("run", metavar="RUN", nargs="?", help=_RUN_OR_SWEEP_HELP)
    rerun.add_argument("--shards", metavar="3,7-9", help="only these; done ones too if damaged or with failed samples")
    rerun.add_argument("--tasks", metavar="8", type=int, help="how many array tasks share the work, also of one shard")
    rerun.add_argument("--mem", metavar="64G", help="memory of an array task (Slurm)")
    rerun.add_argument("--time", metavar="4:00:00", help="time limit of an array task (Slurm)")
    for parser in (run, plan, submit):
        parser.add_argument(
            "--sweep",
            metavar="key.sub=a,b",
            action="append",
            default=[],
            help="a run for each of these values, all together a sweep (repeatable: all combinations)",
        )
    for parser in (run, plan, submit, rerun):
        way = parser.add_mutually_exclusive_group()
        way.add_argument(
            "--keep-results",
            action="store_true",
            help="the Job has changed, and what is computed stays right; its provenance says so",
        )
        way.add_argument("--fresh", action="store_true", help="compute everything again; what is there is set aside")
        _add_set(parser)


def _add_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set", metavar="key.sub=value", action="append", default=[], help="override the config (repeatable)"
    )


def _add_extending(command: _Command) -> None:
    extend = command("extend", "extend.extend", "new samples, after those that a run has: what is done stays done")
    extend.add_argument("run", metavar="RUN", help=_RUN_HELP.partition(" (")[0])
    extend.add_argument(
        "manifests",
        metavar="MANIFEST",
        nargs="*",
        help="where the new samples are (default: the run's own manifest, which has grown); NAME=MANIFEST, of several",
    )
    extend.add_argument("--changed", action="store_true", help="compute samples again that have another content now")


def _add_trying(command: _Command) -> None:
    probe = command(
        "probe", "probe.probe", "run a few samples here, and recommend processes, workers, batch size, shards ..."
    )
    probe.add_argument("config", metavar="CONFIG", help="config.yaml")
    probe.add_argument("--seconds", metavar="60", type=float, default=60.0, help="time for it at most (default: 60)")
    probe.add_argument("--write", action="store_true", help="put what is recommended into the config; comments stay")
    trying = command(
        "try", "trying.try_samples", "a few samples in this process, stage by stage, without a run directory"
    )
    trying.add_argument("target", metavar="CONFIG|RUN", help="config.yaml, run directory or run name")
    trying.add_argument("--samples", metavar="3", type=int, help="how many (default: 3; with --row: 1)")
    trying.add_argument("--shard", metavar="N", type=int, help="the first ones of this shard")
    trying.add_argument("--row", metavar="N", type=int, help="from this row on, counted from 0")
    trying.add_argument("--pdb", action="store_true", help="a debugger where something raises")
    _add_set(probe)
    _add_set(trying)


def _add_looking(command: _Command) -> None:
    status = command("status", "status.status", "progress, rate, time left, failures grouped by cause")
    status.add_argument(
        "runs", metavar="RUN", nargs="*", help=_RUN_OR_SWEEP_HELP.replace("config", "config, or result")
    )
    status.add_argument("--watch", action="store_true", help="redraw until the run has ended")
    status.add_argument("--live", action="store_true", help="ask Slurm too, with one squeue call")
    status.add_argument("--shards", action="store_true", help="list each shard with its array task")
    status.add_argument("--failed", action="store_true", help="list the shards that failed, or have failed samples")
    status.add_argument("--running", action="store_true", help="list the shards that are in work")
    status.add_argument(
        "--slow", action="store_true", help="list those whose array task is much slower than others, or stuck"
    )
    status.add_argument("--csv", action="store_true", help="a line a run; with shards, a line each")
    top = command(
        "top", "top.top", "runs on a full screen: array tasks, nodes, shards, failures, and the logs behind them"
    )
    top.add_argument("runs", metavar="RUN", nargs="*", help=_RUN_OR_SWEEP_HELP.replace("config", "config, or result"))
    logs = command("logs", "logs.logs", "what array tasks wrote: all, of a shard, of what failed, about a sample")
    logs.add_argument("run", metavar="RUN", help="run directory, run name, or config")
    logs.add_argument("shard", metavar="SHARD", nargs="?", type=int, help="number of the shard, from 0 (default: all)")
    logs.add_argument(
        "--failed", action="store_true", help="of the shards that failed, else of those with failed samples"
    )
    logs.add_argument("--sample", metavar="ID", help="only what is said about this sample, with some lines around it")
    logs.add_argument("--tail", metavar="N", type=int, help="only the last N lines of each log")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until what is shown has ended")
    errors = command("errors", "errors.errors", "each failed sample: its id, row, kind, message, attempts")
    errors.add_argument("run", metavar="RUN", nargs="?", help=f"{_RUN_HELP}, or a result.h5")
    errors.add_argument("--shard", metavar="N", type=int, help="only those of this shard")
    _add_reporting(command)
    _add_list(command("list", "listing.list_all", "runs, the newest first: of a folder, or all that you have planned"))


def _add_list(listing: argparse.ArgumentParser) -> None:
    listing.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        help="of runs, or with a folder runs (default: ./runs, else all of yours)",
    )
    listing.add_argument("--all", action="store_true", help="all runs that you have planned, wherever they lie")
    listing.add_argument("--state", metavar="running,failed", help="only runs in these states")
    listing.add_argument("--since", metavar="7d", help="only runs that have changed since: 30m, 12h, 7d, 2w")
    listing.add_argument("--name", metavar="PATTERN", help="only runs with such a name: 'embed-*'")
    listing.add_argument("--sweep", metavar="NAME", help="only the runs of this sweep")
    listing.add_argument("--owner", metavar="USER", help="only runs that this user has planned")
    listing.add_argument("--size", action="store_true", help="how large they are: looks at each of their files")
    listing.add_argument("--csv", action="store_true", help="a table for programs")


def _add_reporting(command: _Command) -> None:
    report = command("report", "report.report", "what a run did and took, with plots, as one HTML file")
    report.add_argument(
        "runs", metavar="RUN", nargs="*", help=f"{_RUN_OR_SWEEP_HELP}; several: a page that compares them"
    )
    report.add_argument("--output", metavar="FILE", help="where it goes (default: report.html in the run directory)")
    report.add_argument("--cpu-price", metavar="0.02", type=float, help="of an hour of a CPU")
    report.add_argument("--gpu-price", metavar="1.50", type=float, help="of an hour of a GPU")
    report.add_argument("--currency", metavar="EUR", default="", help="of these prices, as it is to be called")
    metrics = command("metrics", "report.metrics", "how runs stand, as OpenMetrics text for Prometheus")
    metrics.add_argument("runs", metavar="RUN", nargs="*", help=_RUN_OR_SWEEP_HELP)
    events = command("events", "report.events", "what has happened to a run, an event a line, as JSON")
    events.add_argument("run", metavar="RUN", nargs="?", help=_RUN_HELP)
    events.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")


def _add_finishing(command: _Command) -> None:
    cancel = command("cancel", "finish.cancel", "stop the run; what is done stays, and can be resumed")
    gather = command("gather", "finish.gather", "check every block and write the result")
    verify = command("verify", "finish.verify", "hash shards and result again and compare with the journals")
    for parser in (gather, verify):
        parser.add_argument("run", metavar="RUN", nargs="?", help=_RUN_OR_SWEEP_HELP)
    cancel.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        help=f"{_RUN_OR_SWEEP_HELP.partition(' (')[0]} (without it you are asked about the newest one below ./runs)",
    )
    gather.add_argument("--allow-missing", action="store_true", help="write a result although samples are missing")
    clean = command(
        "clean", "clean.clean", "remove what complete runs do not need any more, once their results are checked"
    )
    clean.add_argument("runs", metavar="RUN", nargs="+", help=_RUN_HELP.partition(" (")[0])
    clean.add_argument("--logs", action="store_true", help="the logs too")
    clean.add_argument("--dry-run", action="store_true", help="only show what would go")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    _add_export(command("export", "export.export", "check every block and write a folder of another format"))


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument("run", metavar="RUN", help=f"{_RUN_HELP.partition(' (')[0]}, or a result.h5")
    export.add_argument("path", metavar="PATH", help="the folder to make, or a place in a store: s3://bucket/place")
    export.add_argument("--format", metavar="NAME", required=True, help="parquet, numpy, webdataset, zarr, lance")
    export.add_argument("--manifest", metavar="NAME", help="which result, of a run of several manifests")
    export.add_argument("--rows-per-file", metavar="N", type=int, help="rows of a file (default: as fit into its size)")
    export.add_argument("--max-file-size", metavar="1G", help="bytes of a file, before compression (default: 1G)")
    export.add_argument(
        "--compression", metavar="NAME", help="of parquet (default: snappy) or zarr (zstd); none: without"
    )
    export.add_argument("--allow-missing", action="store_true", help="export although samples are missing")


def _add_beginning(command: _Command) -> None:
    jobs = command("jobs", "jobs.jobs", "the built-in Jobs, or one, with their parameters")
    jobs.add_argument("name", metavar="JOB", nargs="?", help="a built-in Job, or module:Class")
    init = command("init", "jobs.init", "write a commented config for a Job")
    init.add_argument("job", metavar="JOB", help="a built-in Job (see `launcher jobs`), or module:Class")
    init.add_argument("file", metavar="FILE", nargs="?", default="config.yaml", help="default: config.yaml")
    schema = command("schema", "jobs.schema", "a JSON Schema of config.yaml, for editors, or of what a command prints")
    of = schema.add_mutually_exclusive_group()
    of.add_argument("--job", metavar="JOB", help="with the parameters of this Job: a built-in one, or module:Class")
    of.add_argument("--document", metavar="COMMAND", help="of the document that this command prints with --json")
    schema.add_argument("--output", metavar="FILE", help="write it there (default: print it)")
    doctor = command(
        "doctor", "doctor.doctor", "what is in force and from where, what is here, what is missing for what"
    )
    doctor.add_argument("config", metavar="CONFIG", nargs="?", help="config.yaml (default: what profiles say alone)")
    doctor.add_argument("--set", metavar="key.sub=value", action="append", default=[], help="a value (repeatable)")
    init.add_argument("--set", metavar="key.sub=value", action="append", default=[], help="a value (repeatable)")


def _add_shell(command: _Command) -> None:
    completion = command(
        "completion", "completion.completion", "a script by which a shell completes commands, flags, runs"
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), metavar="SHELL", help="bash, zsh or fish")
    man = command("man", "manual.man", "man pages: print one, or write all")
    man.add_argument("page", metavar="COMMAND", nargs="?", help="of this command (default: of launcher itself)")
    man.add_argument("--output", metavar="FOLDER", help="write all of them there")


def _hint(flag: str, chosen: argparse.ArgumentParser, commands: Mapping[str, argparse.ArgumentParser]) -> str:
    """What was meant: a flag of this command that is like it, or this one of other commands."""
    own = list(chosen._option_string_actions)
    others = [name for name, parser in commands.items() if flag in parser._option_string_actions]
    if not others or nearest(flag, own, cutoff=0.8):
        return guess(flag, own)
    sweep = "; `launcher status NAME` shows all runs of the sweep NAME" if flag == "--sweep" else ""
    return f"; it is for {', '.join(others)}{sweep}"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Raises InputError for arguments that are not valid."""
    parser, commands = make_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        chosen = commands[options.command]
        chosen.error(f"{unknown[0]!r} is not expected{_hint(unknown[0].partition('=')[0], chosen, commands)}")
    options.parsers = parser, commands  # for commands that tell of commands
    return options
