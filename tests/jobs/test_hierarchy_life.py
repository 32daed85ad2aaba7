"""Where a Hierarchy works (scripts, stdin, threads, spawned processes, notebooks), and that it leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.hierarchy_scripts import LEFT, Script, run, until
from tests.support.launcher_runs import ROOT
from tests.support.patience import PATIENCE

SQUARE = """
from jobs import Hierarchy
def square(number):
    return number * number
"""
BUSY = f"""{LEFT}
import time
from jobs import Hierarchy
def work(number):
    if number > 5:
        time.sleep(3600)
    return number
hierarchy = Hierarchy(work, workers=2, batch_size=1)
results = hierarchy.imap(range(100))
print([next(results) for _ in range(6)], flush=True)
"""


# --- where it works


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [((), None), (("-",), "{}"), (("-i",), "{}"), (("-c", "{}"), None)],
    ids=["file", "-", "-i", "-c"],
)
def test_functions_of_main_work_without_a_guard(tmp_path: Path, arguments: tuple[str, ...], stdin: str | None) -> None:
    text = f"""{SQUARE}
from dataclasses import dataclass

@dataclass
class Pair:
    a: int
    b: int

def swap(pair):
    assert isinstance(pair, Pair)
    return Pair(pair.b, square(pair.a))

with Hierarchy(swap, workers=2) as hierarchy: results = hierarchy.map(Pair(n, n + 1) for n in range(100))

print(results[3], isinstance(results[3], Pair), len(results))
"""
    filled = tuple(text if argument == "{}" else argument for argument in arguments)
    assert "Pair(a=4, b=9) True 100" in run(tmp_path, text, arguments=filled, stdin=text if stdin else None)


def test_a_service_without_streams_that_ignores_the_ends_of_its_children_may_have_one(tmp_path: Path) -> None:
    text = f"""
import os, signal
os.close(0)
os.close(1)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
{SQUARE}
with Hierarchy(square, workers=1) as hierarchy:
    assert hierarchy.map([2, 3]) == [4, 9]
"""
    script = Script(tmp_path, text)
    code, _, err = script.end()
    assert (code, err) == (0, "")
    assert script.running() == []


def test_lambdas_closures_and_modules_beside_the_script_work(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def double(number):\n    return 2 * number\n")
    text = """
from jobs import Hierarchy
from helper import double

def adder(amount):
    return lambda number: double(number) + amount

for function in (double, adder(1), lambda number: number - 1):
    with Hierarchy(function, workers=2) as hierarchy:
        print(hierarchy.map(range(4)))
"""
    assert run(tmp_path, text).splitlines() == ["[0, 2, 4, 6]", "[1, 3, 5, 7]", "[-1, 0, 1, 2]"]


def test_it_works_in_a_thread_that_ends_before_the_hierarchy_does(tmp_path: Path) -> None:
    text = f"""{SQUARE}{LEFT}
import threading
made = []
thread = threading.Thread(target=lambda: made.append(Hierarchy(square, workers=2)))
thread.start()
thread.join()
print(made[0].map(range(4)))
results = []
thread = threading.Thread(target=lambda: results.extend(made[0].imap(range(4))))
thread.start()
thread.join()
made[0].close()
print(results, left())
"""
    assert run(tmp_path, text).splitlines() == ["[0, 1, 4, 9]", "[0, 1, 4, 9] (0, 0, 0)"]


def test_what_workers_print_arrives(tmp_path: Path) -> None:
    text = """
from jobs import Hierarchy
with Hierarchy(lambda number: print(f"sample {number}\\n", end=""), workers=2) as hierarchy:
    hierarchy.map(range(3))
"""
    assert sorted(run(tmp_path, text).splitlines()) == ["sample 0", "sample 1", "sample 2"]


def test_a_process_spawned_by_the_script_may_make_one(tmp_path: Path) -> None:
    text = f"""{SQUARE}
import multiprocessing
def child(queue):
    with Hierarchy(square, workers=2) as hierarchy:
        queue.put(hierarchy.map(range(4)))
if __name__ == "__main__":
    queue = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(target=child, args=(queue,))
    process.start()
    print(queue.get())
    process.join()
"""
    assert run(tmp_path, text) == "[0, 1, 4, 9]\n"


def test_one_made_while_a_spawned_process_imports_the_script_is_refused(tmp_path: Path) -> None:
    text = f"""{SQUARE}
import multiprocessing
hierarchy = Hierarchy(square, workers=1)
process = multiprocessing.get_context("spawn").Process(target=print)
process.start()
process.join()
print(process.exitcode, hierarchy.map([3]))
"""
    script = Script(tmp_path, text)
    code, out, err = script.end()
    assert (code, out) == (0, "1 [9]\n")
    assert "InputError: a Hierarchy is made while multiprocessing imports the script again" in err
    assert script.running() == []


def test_one_made_by_a_module_that_its_own_workers_import_is_refused(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(f"{SQUARE}hierarchy = Hierarchy(square, workers=1)\n")
    script = Script(tmp_path, "import work\nprint(work.hierarchy.map([3]))")
    code, _, err = script.end()
    assert code == 1
    assert "a Hierarchy is made inside another one's function or Job, or by a module they import" in err
    assert "below `if __name__ == '__main__':`" in err
    assert script.running() == []


def test_a_forked_copy_is_told_and_ends_nothing(tmp_path: Path) -> None:
    text = f"""{SQUARE}
import os
hierarchy = Hierarchy(square, workers=2)
if os.fork() == 0:
    try:
        hierarchy.map([1])
    except Exception as error:
        print(type(error).__name__, "was forked" in str(error), flush=True)
    raise SystemExit
os.wait()
print(hierarchy.map([3]))
"""
    assert run(tmp_path, text).splitlines() == ["RunError True", "[9]"]


@pytest.mark.parametrize("end", ["raise SystemExit", "break", "next(results)"])
def test_a_copy_forked_within_a_pass_takes_nothing_from_it(tmp_path: Path, end: str) -> None:
    text = f"""{SQUARE}
import os
hierarchy = Hierarchy(square, workers=2, batch_size=1)
def squares():
    found = []
    results = hierarchy.imap(range(100))
    for result in results:
        found.append(result)
        if len(found) == 30:
            if os.fork() == 0:
                {end}
            os.wait()
    return found
try:
    print(squares() == [number * number for number in range(100)])
except Exception as error:
    print(type(error).__name__, "was forked" in str(error))
"""
    told = {"raise SystemExit": [], "break": ["False"], "next(results)": ["RunError True"]}[end]
    assert run(tmp_path, text).splitlines() == [*told, "True"]


def test_a_notebook_cell_works(tmp_path: Path) -> None:
    from jupyter_client.blocking.client import BlockingKernelClient
    from jupyter_client.manager import run_kernel

    with run_kernel(cwd=str(tmp_path), env={**os.environ, "PYTHONPATH": str(ROOT)}) as client:
        assert isinstance(client, BlockingKernelClient)
        cells = (SQUARE, "with Hierarchy(square, workers=2) as h: print(h.map(range(4)))", f"{LEFT}\nprint(left()[0])")
        shown = []
        for cell in cells:
            reply = client.execute_interactive(
                cell, timeout=PATIENCE, output_hook=lambda message: shown.append(message["content"].get("text", ""))
            )
            assert reply["content"]["status"] == "ok", reply
    assert "".join(shown).split("\n")[:2] == ["[0, 1, 4, 9]", "0"]


def test_importing_the_package_is_light() -> None:
    program = "import sys, jobs; print({'numpy', 'torch', 'cloudpickle', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --- what is left


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        pytest.param("raise KeyError", marks=pytest.mark.thorough),
        "next(hierarchy.imap(range(10)))",
        pytest.param("raise KeyboardInterrupt", marks=pytest.mark.thorough),
    ],
)
def test_nothing_is_left_when_the_block_ends(tmp_path: Path, end: str) -> None:
    text = f"""{SQUARE}{LEFT}
import torch
from tests.support.launcher_runs import wait_until
before = set(os.listdir("/dev/shm"))
try:
    with Hierarchy(square, workers=2) as hierarchy:
        hierarchy.map(range(1000))
        {end}
except (KeyError, KeyboardInterrupt):
    pass
print(left())
new = set(os.listdir("/dev/shm")) - before
wait_until(lambda: not new & set(os.listdir("/dev/shm")))  # those of others, which are on this machine too, go away
"""
    assert run(tmp_path, text) == "(0, 0, 0)\n"


def test_nothing_is_left_when_one_is_collected_or_never_closed(tmp_path: Path) -> None:
    text = f"""{SQUARE}{LEFT}
Hierarchy(square, workers=2)
print(left())
hierarchy = Hierarchy(square, workers=2)
print(hierarchy.map([2]))
"""
    assert run(tmp_path, text).splitlines() == ["(0, 0, 0)", "[4]"]


@pytest.mark.parametrize("number", [0, signal.SIGKILL])
def test_what_functions_started_ends_with_the_block_and_with_the_caller(tmp_path: Path, number: int) -> None:
    mark = f"{2000 + int.from_bytes(os.urandom(4)) / 2**32:.9f}"
    text = f"""
import os, subprocess, time
from jobs import Hierarchy
def start(number):
    return subprocess.run(["sh", "-c", "setsid env -i sleep {mark} >/dev/null 2>&1 &"]).returncode
with Hierarchy(start, workers=2, batch_size=1) as hierarchy:
    print(hierarchy.map(range(4)), flush=True)
    if {number}: time.sleep(600)
"""
    script = Script(tmp_path, text)
    assert script.line() == "[0, 0, 0, 0]"
    if number:
        script.process.send_signal(number)
    assert script.end()[0] == -number
    until(lambda: not [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or [])])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_is_left_when_the_process_is_ended_by_a_signal(tmp_path: Path, number: int) -> None:
    script = Script(tmp_path, f"{BUSY}next(results)\n")
    assert script.line() == "[0, 1, 2, 3, 4, 5]"
    until(lambda: len(script.running()) == 7)  # each of two children has a guardian
    script.process.send_signal(number)
    assert script.end()[0] == -number
    until(lambda: script.running() == [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_a_signal_comes_while_the_script_ends(tmp_path: Path, number: int) -> None:
    script = Script(tmp_path, BUSY)
    assert script.line() == "[0, 1, 2, 3, 4, 5]"
    script.process.send_signal(number)
    assert script.end()[0] in (0, -number)
    until(lambda: script.running() == [])


def test_ctrl_c_ends_the_block_with_keyboard_interrupt_and_nothing_else_is_printed(tmp_path: Path) -> None:
    text = (
        BUSY
        + "with hierarchy:\n    try:\n        print('inside', flush=True)\n        next(results)\n"
        + "    finally:\n        hierarchy.close()\n        print(left())\n"
    )
    script = Script(tmp_path, text)
    while script.line() != "inside":
        pass
    os.killpg(script.process.pid, signal.SIGINT)
    code, out, err = script.end()
    assert code == -signal.SIGINT
    assert out == "(0, 0, 0)\n"
    assert err.count("Traceback") == 1
    assert err.strip().endswith("KeyboardInterrupt")
    assert script.running() == []


def test_after_an_interrupted_pass_another_one_works(tmp_path: Path) -> None:
    text = f"""{SQUARE}
import signal, itertools
hierarchy = Hierarchy(square, workers=2)
for _ in range(20):
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        for result in hierarchy.imap(itertools.count()): pass
    except KeyboardInterrupt:
        pass
    try:
        assert hierarchy.map(range(100)) == [n * n for n in range(100)]
    except Exception as error:
        assert "interrupted in the middle of a message" in str(error), error
        hierarchy = Hierarchy(square, workers=2)
print("fine")
"""
    assert run(tmp_path, text) == "fine\n"


def test_nothing_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    text = (
        BUSY
        + "psutil.Process().children()[0].kill()\n"
        + "try:\n    next(results)\nexcept Exception as error: print(error, flush=True)\ntime.sleep(3600)\n"
    )
    script = Script(tmp_path, text)
    script.line()
    assert "ended by itself: signal 9" in script.line()
    until(lambda: script.running() == [script.process.pid])
    script.process.kill()
    script.end()


def test_scratch_folders_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"""{SQUARE}
import tempfile
with Hierarchy(square, workers=1) as hierarchy:
    hierarchy.map([1])
"""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    run(tmp_path, text)
    assert list(scratch.iterdir()) == []
