"""Nothing that is read from disk is unpickled, evaluated or handed to a shell: by the sources, and by runs of somebody else."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.storage import checked_json
from jobs.storage.plans import Plan
from tests.support.launcher_runs import ROOT, launcher, run_of, write_config

# Objects cross between processes through pipes and memory without a name, never through files.
PICKLES = {"jobs/pickles.py"}
ROUND_TRIP = {"launcher/probe/config_writer.py"}  # ruamel's, which makes plain data
# The script or the cells that run in this process, whose text is executed already.
OWN_SCRIPT = {"launcher/python/main_source.py", "launcher/python/module_text.py"}
FORBIDDEN = {
    "eval", "exec", "compile", "os.system", "os.popen", "pickle.load", "pickle.loads", "cloudpickle.load", "marshal.load",
    "marshal.loads", "shelve.open", "torch.load", "np.load", "numpy.load", "joblib.load", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "dill.load", "pd.read_pickle", "pandas.read_pickle", "runpy.run_path",
}  # fmt: skip


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("package", ["jobs", "launcher", "demo"])
def test_no_call_unpickles_evaluates_or_starts_a_shell(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for function, call in calls(path):
            assert function not in FORBIDDEN or name in PICKLES | ROUND_TRIP | OWN_SCRIPT, (
                f"{name}:{call.lineno}: {function}"
            )
            shell = [word for word in call.keywords if word.arg in ("shell", "allow_pickle")]
            assert not shell, f"{name}:{call.lineno}: {ast.unparse(shell[0].value)}"


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_looking_at_a_run_whose_files_are_pickles_runs_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    assert launcher(tmp_path, "run", config).returncode == 0
    run, trap = run_of(config), tmp_path / "trapped"
    for path in [path for path in run.path.rglob("*") if path.is_file() and path != run.plan]:
        path.write_bytes(pickle.dumps(Trap(trap)))
        for command in (("status", run.path), ("logs", run.path, "0"), ("list", run.path.parent)):
            done = launcher(tmp_path, *command)
            assert "Traceback" not in done.stderr, (path, command)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "a/b"])
def test_a_plan_whose_manifest_names_lead_out_of_the_run_is_refused(tmp_path: Path, name: str) -> None:
    config = write_config(tmp_path)
    launcher(tmp_path, "plan", config)
    run = run_of(config)
    plan = checked_json.decode(run.plan.read_bytes())
    run.plan.write_bytes(checked_json.encode({**plan, "parts": [{"name": name, "start": 0, "stop": 100}]}))
    done = launcher(tmp_path, "gather", run.path, "--allow-missing")
    assert done.returncode in (1, 2)
    assert f"{name!r} is no name of a manifest" in done.stderr


def test_a_result_replaces_no_file_that_is_none(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("my work")
    config = write_config(tmp_path, output={"path": str(mine)})
    refusal = "is there and is no result, so it is not replaced; move it away"
    refused = launcher(tmp_path, "run", config)  # before anything is computed
    assert refused.returncode == 2
    assert refusal in refused.stderr
    mine.unlink()
    assert launcher(tmp_path, "run", config).returncode == 0
    mine.write_text("my work")
    late = launcher(tmp_path, "gather", run_of(config).path)
    assert late.returncode == 1
    assert refusal in late.stderr
    assert mine.read_text() == "my work"
    mine.unlink()
    for _ in range(2):  # the second one replaces a result
        assert launcher(tmp_path, "gather", run_of(config).path).returncode == 0


def test_a_link_in_the_place_of_a_log_or_a_data_file_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("my work")
    config = write_config(tmp_path, shards=1)
    launcher(tmp_path, "plan", config)
    run = run_of(config)
    run.submission_log(1).symlink_to(mine)
    run.log(1, 0).symlink_to(mine)
    launcher(tmp_path, "run", config)
    assert Plan.read(run.plan).rows == 100
    assert mine.read_text() == "my work"
