"""Sweeps: what a command does to a run, done to each run of a sweep, and told in one line at the end."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from jobs.errors import InputError, LauncherError, RunError
from jobs.storage.rundir import RunDir
from launcher.commands.chosen_run import chosen_run, runs_of_sweep
from launcher.commands.printer import Printer
from launcher.units import counted

_NAMED = 5


@dataclass(frozen=True)
class Done:
    """What became of a run: in a ``word`` or two, and as a document; whether it ``is_well`` decides the exit code."""

    word: str
    document: Mapping[str, object] = field(default_factory=dict)
    is_well: bool = True


Doing = Callable[[RunDir], Done]


def do(text: str | None, doing: Doing, printer: Printer, after: str = "") -> bool:
    """Does it to the run of a RUN argument, or to each of the sweep of that name; returns whether all is well.

    What one run of a sweep raises is told, and the others are done all the same; then the worst of it is raised: InputError
    where one was refused. ``after`` is the command to go on with, without the name of the sweep.
    """
    swept = runs_of_sweep(text) if text else ()
    if not text or not swept:
        done = doing(chosen_run(text))
        printer.document(**done.document)
        return done.is_well
    all_done = [_tried(run, doing, printer) for run in swept]
    summary = f"sweep {text}, {counted(len(swept), 'run')}: {_counts(swept, all_done)}"
    printer.document(sweep=text, runs=[done.document for done, _ in all_done])
    worst = max(
        (error for _, error in all_done if error), key=lambda error: isinstance(error, InputError), default=None
    )
    if worst:
        raise (InputError if isinstance(worst, InputError) else RunError)(summary)
    printer.say(f"{summary}{f'; {after} {text}' if after else ''}")
    return all(done.is_well for done, _ in all_done)


def _tried(run: RunDir, doing: Doing, printer: Printer) -> tuple[Done, LauncherError | OSError | None]:
    try:
        return doing(run), None
    except (LauncherError, OSError) as error:
        text = str(error)
        printer.warn(*getattr(error, "__notes__", ()), text if run.name in text else f"{run.name}: {text}")
        word = "refused" if isinstance(error, InputError) else "failed"
        return Done(word, {"run": str(run.path), "error": text}, is_well=False), error


def _counts(runs: Sequence[RunDir], all_done: Sequence[tuple[Done, object]]) -> str:
    """``2 submitted, 1 refused (toy-8)``: names of those with which not all is well."""
    names = defaultdict[tuple[str, bool], list[str]](list)
    for run, (done, _) in zip(runs, all_done, strict=True):
        names[done.word, done.is_well].append(run.name)
    return ", ".join(
        f"{len(own):,} {word}" + ("" if is_well else f" ({', '.join(own[:_NAMED])}{' ...' * (len(own) > _NAMED)})")
        for (word, is_well), own in names.items()
    )
