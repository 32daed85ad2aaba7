"""What imports what: one direction, and nothing heavy where a command must answer at once."""

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.kinds import EndReason
from jobs.storage.plans import Plan
from jobs.storage.records import Commit
from launcher.executors import EXECUTORS
from tests.support.builders import AttemptWriter
from tests.support.launcher_runs import ROOT, environment, launcher, write_config
from tests.support.task_runs import command as task_command
from tests.support.task_runs import make_run

HEAVY = {"torch", "pandas", "h5py", "pyarrow"}
NOT_IN_JOBS = {"launcher", "ruamel", "yaml", "pandas", "submitit", "pydantic", "rich"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path, *, everywhere: bool) -> set[str]:
    """Top-level packages that a module imports: when it is imported, or anywhere in it."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else at_import(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found.add((node.module or "").partition(".")[0])
    return found


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The statements that run when the module is imported: not those in functions, nor under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield child
        yield from at_import(child)


def loaded(*arguments: str) -> set[str]:
    """Top-level modules that a command of the launcher has imported when it ends."""
    program = (
        "import sys; from launcher.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print('MODULES', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment(), capture_output=True, text=True, check=True
    )
    return set(done.stdout.partition("MODULES ")[2].split())


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = write_config(tmp_path_factory.mktemp("planned"), rows=640, shards=64)
    assert launcher(config.parent, "plan", config.name).returncode == 0
    return config.parent / "runs" / "toy"


def test_every_module_is_looked_at() -> None:
    assert len(modules("jobs")) > 20
    assert len(modules("launcher")) > 20


@pytest.mark.parametrize("path", modules("jobs"), ids=lambda path: str(path.relative_to(ROOT)))
def test_jobs_never_import_the_launcher(path: Path) -> None:
    assert "launcher" not in imports(path, everywhere=True)


@pytest.mark.parametrize("path", modules("jobs"), ids=lambda path: str(path.relative_to(ROOT)))
def test_jobs_import_nothing_of_the_login_node_at_import(path: Path) -> None:
    assert imports(path, everywhere=False) & NOT_IN_JOBS == set()


@pytest.mark.parametrize("package", ["jobs", "launcher"])
def test_no_module_imports_the_tests(package: str) -> None:
    for path in modules(package):
        assert "tests" not in imports(path, everywhere=True)


@pytest.mark.parametrize("path", modules("launcher"), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_knows_submitit(path: Path) -> None:
    assert "submitit" not in imports(path, everywhere=True)


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["status", "--help"], ["list"], ["nonsense"]])
def test_help_and_mistakes_import_nothing_heavy(command: list[str]) -> None:
    assert loaded(*command) & (HEAVY | {"numpy", "pydantic", "ruamel", "rich"}) == set()


@pytest.mark.parametrize("flags", [[], ["--json"], ["--shards"]])
def test_status_imports_nothing_heavy(planned: Path, flags: list[str]) -> None:
    assert loaded("status", str(planned), *flags) & (HEAVY | {"numpy", "pydantic", "ruamel", "rich"}) == set()


@pytest.mark.parametrize("command", ["cancel", "logs"])
def test_looking_after_a_run_imports_nothing_heavy(planned: Path, command: str) -> None:
    arguments = [command, str(planned), *(["0"] if command == "logs" else [])]
    assert loaded(*arguments) & HEAVY == set()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_asking_an_executor_imports_nothing_heavy(executor: str) -> None:
    """As status does, for advice and for attempts whose end is not known."""
    program = f"from launcher.executors import choose_executor; choose_executor({executor!r}); import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    found = {name.partition(".")[0] for name in done.stdout.split()}
    assert found & (HEAVY | {"numpy", "pydantic", "ruamel", "rich"}) == set()


@pytest.mark.parametrize("given", ["config", "run"])
def test_slurm_is_asked_for_its_limits_before_numpy_is_imported(planned: Path, given: str) -> None:
    """sacctmgr's answer takes a third of a second, as the imports do: one of them is waited for, not both."""
    program = (
        "import sys; from launcher.cli import main; from launcher.slurm import scheduler, slurm_executor\n"
        "scheduler.is_here = lambda: True\n"
        "slurm_executor.ask_ahead = lambda asked: sys.exit('numpy' in sys.modules)\n"
        "main(['submit', sys.argv[1], '--set', 'executor=slurm'])"
    )
    target = planned if given == "run" else planned.parents[1] / "config.yaml"
    done = subprocess.run(
        [sys.executable, "-c", program, str(target)], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def imported_in_order(command: list[str]) -> list[str]:
    """Names of modules, in the order in which a command and all its processes imported them."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command[1:]],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:"))
    return [name for name in lines if name != "imported package"]


def test_an_array_task_imports_little_and_each_module_once(tmp_path: Path) -> None:
    """What its children use they have from it; what few tasks need, none imports before."""
    found = imported_in_order(task_command(make_run(tmp_path / "run", "Toy", 64)))
    ours = [name for name in found if name.partition(".")[0] == "jobs"]
    assert len(ours) == len(set(ours)) <= 132
    # The last of the supervisor's imports: what comes after it is imported by one child after the other.
    assert found[found.index("jobs.node.supervisor.task") + 1 :] == []
    rare = {"hashlib", "numpy.ma", "pickletools", "secrets", "sysconfig", "threadpoolctl"}
    assert set(found) & (rare | {"jobs.storage.old_shards", "jobs.storage.old_journal", "jobs.gather"}) == set()


def test_planning_asks_no_other_distribution_for_plugins(tmp_path: Path) -> None:
    """pydantic would: a file of each, on a file system that may be slow. Those of a Job's own models are found all the same."""
    program = (
        "import os, sys; opened = []; sys.addaudithook(lambda event, values: event == 'open' and opened.append(values[0]))\n"
        "from launcher.cli import main; main(sys.argv[1:])\n"
        "assert not [path for path in opened if str(path).endswith('entry_points.txt')]\n"
        "assert 'pydantic' in sys.modules and 'PYDANTIC_DISABLE_PLUGINS' not in os.environ"
    )
    command = [sys.executable, "-c", program, "plan", str(write_config(tmp_path))]
    variables = {name: value for name, value in environment().items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_parquet_manifest_takes_no_compute_functions_of_arrow(tmp_path: Path) -> None:
    """Importing them takes 70 ms; tables of text and numbers need none."""
    table = pa.table({"id": ["a", "b"], "x": [1, 2], "at": [0.5, 1.5]})
    pq.write_table(table, tmp_path / "data.parquet")
    program = (
        "import sys; from pathlib import Path; from launcher.manifest.manifest import build_manifest\n"
        "build_manifest('data.parquet', Path('manifest.arrow'), 'id', None)\n"
        "assert 'pyarrow.compute' not in sys.modules"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def seconds(*arguments: str) -> float:
    """CPU time of a Python command over that of an empty one."""
    times = []
    for command in (arguments, ("-c", "pass")):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], env=environment(), capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return times[0] - times[1]


def of_numpy(*arguments: str) -> float:
    """CPU time of a Python command, of importing numpy, the least of some runs in turns: that holds on any machine."""
    pairs = [(seconds(*arguments), seconds("-c", "import numpy")) for _ in range(5)]
    return min(ours for ours, _ in pairs) / min(theirs for _, theirs in pairs)


def test_help_takes_less_than_an_import_of_numpy() -> None:
    assert of_numpy("-m", "launcher", "--help") < 1


def test_status_of_64_shards_takes_less_than_some_imports_of_numpy(tmp_path: Path) -> None:
    """Of 9,600 samples in batches of 16, in 16 attempts; half of the shards are done, half stopped on their way."""
    run = make_run(tmp_path / "run", "Toy", 64 * 150, shards=64, batch_size=16, tasks=16)
    table = Plan.read(run.plan).table
    for worker in range(16):
        with AttemptWriter(run, worker=worker) as writer:
            for shard in range(4 * worker, 4 * worker + 4):
                batches = list(table.batches(table.rows_of([shard])))
                for start, stop in batches[: len(batches) if shard % 2 else 5]:
                    writer.record(Commit(start, stop))
            writer.beat(end=EndReason.STOPPED)
    assert of_numpy("-m", "launcher", "status", str(run.path)) < 2.5
