"""The import graph: which rooms (folders) may import which, without circles between rooms or between modules.

Imports inside functions count too, those under TYPE_CHECKING do not. A folder's own files that lie beside its rooms, its
hall, are split: base modules that every room may import, and doors at the top that no room imports.
"""

import ast
import graphlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Modules of the halls; all others there are doors.
HALLS = {
    "jobs base": {
        "jobs.deadline",
        "jobs.errors",
        "jobs.exit_codes",
        "jobs.extras",
        "jobs.kinds",
        "jobs.late_annotations",
        "jobs.monkey_patches",
        "jobs.nearest",
        "jobs.pickles",
        "jobs.plural",
        "jobs.stacked",
        "jobs.tensors",
        "jobs.tracebacks",
        "jobs.variables",
    },
    "jobs job": {"jobs.job", "jobs.job_check", "jobs.job_folder", "jobs.parameters", "jobs.inputs"},
    "launcher base": {
        "launcher",
        "launcher.examples",
        "launcher.interrupts",
        "launcher.patience",
        "launcher.table",
        "launcher.target",
        "launcher.units",
        "launcher.visible",
    },
    "launcher executors": {"launcher.executors"},
}

# Room: the rooms that it may import.
TABLE = {
    "jobs base": "",
    "jobs/machine": "jobs base",
    "jobs/references": "jobs base",
    "jobs/storage": "jobs base, jobs/references",
    "jobs job": "jobs base, jobs/references, jobs/storage",
    "jobs/embedding": "jobs base, jobs job",
    "jobs/sound": "",
    "jobs/images": "jobs base, jobs job",
    "jobs/http": "jobs base, jobs/storage",
    "jobs/program": "jobs base, jobs/machine",
    "jobs/generation": "jobs base, jobs job, jobs/machine, jobs/program",
    "jobs/node": "jobs base, jobs job, jobs/machine, jobs/storage",
    "jobs/node/worker": "jobs base, jobs job, jobs/machine, jobs/node, jobs/storage",
    "jobs/node/process": "jobs base, jobs job, jobs/gather, jobs/machine, jobs/node, jobs/node/worker, jobs/storage",
    "jobs/node/supervisor": "jobs base, jobs job, jobs/machine, jobs/node, jobs/node/process, jobs/node/worker, jobs/storage",
    "jobs/gather": "jobs base, jobs job, jobs/storage",
    "jobs/library": "jobs base, jobs job, jobs/machine, jobs/node, jobs/node/supervisor, jobs/node/worker, jobs/storage",
    "jobs doors": "jobs base, jobs job, jobs/embedding, jobs/generation, jobs/http, jobs/images, jobs/library, jobs/machine, "
    "jobs/node/supervisor, jobs/program, jobs/references, jobs/sound, jobs/storage",
    "launcher base": "jobs base",
    "launcher/manifest": "jobs base, jobs/references, jobs/storage",
    "launcher executors": "jobs base, jobs/storage",
    "launcher/documents": "jobs base, jobs/storage, launcher executors, launcher/doctor, launcher/probe, launcher/runs, "
    "launcher/tryout",
    "launcher/config": "jobs base, jobs/references, jobs/storage, launcher base, launcher executors, launcher/manifest",
    "launcher/catalogue": "jobs base, jobs doors, jobs job, jobs/storage, launcher/config",
    "launcher/plan": "jobs base, jobs/gather, jobs job, jobs/machine, jobs/storage, launcher base, "
    "launcher/catalogue, launcher/config, launcher/delivery, launcher/export, launcher/manifest, launcher/runs",
    "launcher/runs": "jobs base, jobs/machine, jobs/references, jobs/storage, launcher executors",
    "launcher/results": "jobs base, jobs/gather, jobs/references, jobs/storage, launcher/runs",
    "launcher/delivery": "jobs base, jobs/gather, jobs/references, jobs/storage, launcher base, launcher/export, "
    "launcher/results, launcher/runs",
    "launcher/export": "jobs base, jobs/gather, jobs/references, jobs/storage, launcher/results",
    "launcher/notify": "jobs base, jobs/storage, launcher base, launcher/runs, launcher/status",
    "launcher/retry": "jobs base, jobs/gather, jobs/storage, launcher/config, launcher/delivery, launcher/plan, launcher/runs",
    "launcher/local": "jobs base, jobs/machine, jobs/storage, launcher executors, launcher/config, launcher/notify, "
    "launcher/retry, launcher/runs, launcher/submit",
    "launcher/slurm": "jobs base, jobs/machine, jobs/node/supervisor, jobs/storage, launcher base, launcher executors, "
    "launcher/config, launcher/notify, launcher/plan, launcher/retry, launcher/runs, launcher/submit",
    "launcher/status": "jobs base, jobs/machine, jobs/storage, launcher base, launcher executors, launcher/runs",
    "launcher/top": "jobs base, jobs/storage, launcher base, launcher/runs, launcher/status",
    "launcher/report": "jobs base, jobs/storage, launcher base, launcher executors, launcher/config, launcher/runs, "
    "launcher/status",
    "launcher/submit": "jobs base, jobs/gather, jobs/machine, jobs/storage, launcher base, launcher executors, "
    "launcher/config, launcher/delivery, launcher/notify, launcher/plan, launcher/runs, launcher/status",
    "launcher/probe": "jobs base, jobs job, jobs/machine, jobs/storage, launcher base, launcher executors, launcher/config, "
    "launcher/local, launcher/manifest, launcher/plan, launcher/runs",
    "launcher/doctor": "jobs base, jobs/machine, jobs/storage, launcher base, launcher executors, launcher/config, "
    "launcher/notify, launcher/plan",
    "launcher/python": "jobs base, jobs/gather, jobs job, jobs/storage, launcher executors, launcher/commands, "
    "launcher/config, launcher/manifest, launcher/plan, launcher/report, launcher/results, launcher/runs, launcher/status, "
    "launcher/submit, launcher/tryout",
    "launcher/tryout": "jobs base, jobs/gather, jobs job, jobs/machine, jobs/node, jobs/storage, launcher/config, "
    "launcher/plan",
    "launcher/commands": "jobs base, jobs/gather, jobs/references, jobs/storage, launcher base, launcher executors, "
    "launcher/catalogue, "
    "launcher/config, launcher/delivery, launcher/doctor, launcher/documents, launcher/export, launcher/notify, launcher/plan, "
    "launcher/probe, launcher/results, launcher/report, launcher/runs, launcher/status, launcher/submit, launcher/top, "
    "launcher/tryout",
    "launcher doors": "jobs base, jobs/gather, jobs/machine, jobs/storage, launcher base, launcher/commands, launcher/runs, "
    "launcher/slurm",
}
ALLOWED = {room: {other.strip() for other in others.split(",") if other} for room, others in TABLE.items()}


@cache
def modules() -> Mapping[str, Path]:
    """All modules of both packages, packages under their own name."""
    found = {}
    for package in ("jobs", "launcher"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def room(module: str) -> str:
    path = modules()[module]
    folder = str(path.parent.relative_to(ROOT))
    if folder not in ("jobs", "launcher"):
        return folder
    return next((hall for hall, names in HALLS.items() if module in names), f"{folder} doors")


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All below the node but what is under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from statements(child)


def imported(path: Path) -> set[str]:
    """The modules of ours that a module imports, anywhere in it."""
    found: set[str] = set()
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else str(node.module) for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules().keys()


@cache
def arrows() -> frozenset[tuple[str, str]]:
    """(importing module, imported one); the packages that a module is in are imported before it in any case."""
    pairs = ((module, other) for module, path in modules().items() for other in imported(path))
    return frozenset((module, other) for module, other in pairs if not f"{module}.".startswith(f"{other}."))


def circle(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A circle of the graph, empty where there is none."""
    graph: dict[str, set[str]] = {}
    for importer, other in pairs:
        graph.setdefault(importer, set()).add(other)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_the_table_has_every_room() -> None:
    assert {room(module) for module in modules()} == TABLE.keys()


@pytest.mark.parametrize("importer", TABLE)
def test_a_room_imports_only_what_the_table_lets_it(importer: str) -> None:
    for module, other in sorted(arrows()):
        if room(module) == importer != room(other):
            assert room(other) in ALLOWED[importer], f"{module} imports {other}, and {importer} may not"


def test_the_table_has_no_circle() -> None:
    assert circle((importer, other) for importer, others in ALLOWED.items() for other in others) == []


def test_the_rooms_have_no_circle() -> None:
    pairs = {(room(module), room(other)) for module, other in arrows()}
    assert circle((importer, other) for importer, other in pairs if importer != other) == []


def test_the_modules_have_no_circle() -> None:
    assert circle(arrows()) == []


def test_a_circle_is_found() -> None:
    assert set(circle([("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")])) == {"a", "b", "c"}
    assert circle([("a", "b"), ("a", "c"), ("b", "c")]) == []
