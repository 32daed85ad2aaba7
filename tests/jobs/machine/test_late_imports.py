"""What is to happen after an import, whenever that is; in interpreters of their own, since imports are for good."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.launcher_runs import ROOT

SCRIPT = """
import sys
sys.path[:0] = [{root!r}, {folder!r}]
from jobs.machine.late_imports import after_import
{first}
after_import("late", lambda: print("late is", sys.modules["late"].value))
print("asked")
import os.path, late
from late import value
print("imported", value, late.__spec__.loader.get_source("late").strip())
"""


@pytest.mark.parametrize(("first", "said"), [("", ["asked", "late is 7"]), ("import late", ["late is 7", "asked"])])
def test_it_happens_once_and_before_whoever_imports_goes_on(tmp_path: Path, first: str, said: list[str]) -> None:
    (tmp_path / "late.py").write_text("value = 7\n")
    script = SCRIPT.format(root=str(ROOT), folder=str(tmp_path), first=first)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*said, "imported 7 value = 7"]


def test_a_module_that_is_not_there_is_an_import_error_as_ever(tmp_path: Path) -> None:
    script = SCRIPT.format(root=str(ROOT), folder=str(tmp_path), first="")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError: No module named 'late'" in done.stderr


TORCH = """
class Tensor: pass
class cuda:
    device = "none"
    set_device = staticmethod(lambda device: setattr(cuda, "device", device))
    current_device = staticmethod(lambda: cuda.device)
threads = 1
def set_num_threads(number):
    global threads
    threads = number
"""


def test_a_torch_that_is_imported_late_has_the_processs_device_and_threads(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(TORCH)
    script = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]\n"
        "from jobs.machine import threads\nfrom jobs.node.process.process import use_device_of_torch\n"
        "threads.use(3); use_device_of_torch('cuda:1')\n"
        "assert 'torch' not in sys.modules\nimport torch\nprint(torch.cuda.current_device(), torch.threads)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "cuda:1 3\n"
