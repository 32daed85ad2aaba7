"""Command: what a program gets and gives, how it ends, and that nothing of it is left, whoever is killed."""

import contextlib
import hashlib
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from jobs.command import Command, ProgramError
from jobs.errors import InputError
from jobs.job import Context
from jobs.program.programs import Call, Programs
from launcher import results
from tests.support.launcher_runs import ROOT, launcher, run_of, wait_until, write_config
from tests.support.patience import PATIENCE
from tests.support.task_runs import alive, command, failures, last_end, make_run, run_task, write_submission

GIGABYTE = 1_000_000_000
# Leaves two behind, one of them in a session of its own; the mark tells them from other programs of this machine.
FAMILY = "setsid sleep {mark} & sleep {mark} & {then}"


class Row(dict[str, Any]):
    """A manifest row."""

    index = 7
    id = "seven"


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Any]:
    """Makes Commands that can load, and ends them."""
    made: list[Command] = []

    def make(*words: str, **params: Any) -> Command:
        job = Command(list(words), **params)
        job.setup_worker(Context("cpu", 0, None, tmp_path, 0))
        made.append(job)
        return job

    yield make
    for job in made:
        job.teardown()


@pytest.fixture
def mark() -> str:
    """Seconds to sleep that no other program of this machine sleeps."""
    return f"{1000 + int.from_bytes(os.urandom(4)) / 2**32 * 1000:.9f}"


def sleepers(mark: str) -> list[psutil.Process]:
    found = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", mark]]
    return alive(found)


def test_arguments_come_as_they_are_and_no_shell_reads_them(jobs: Any) -> None:
    nasty = "a b;$(touch x) `id` 'q' \"d\" *\n\\ ü"
    job = jobs("printf", "%s|", "{text}", "--n={n}", "{{not}}", "{index}", "{id}", "{x.y z}", "")
    found = job.load(Row({"text": nasty, "n": 1.5, "x.y z": 3}))
    assert found["stdout"].split("|") == [nasty, "--n=1.5", "{not}", "7", "seven", "3", "", ""]
    assert found["exit_code"] == 0


def test_time_in_which_worker_and_program_were_stopped_is_none_of_the_timeout(tmp_path: Path) -> None:
    script = f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/gate ]; do sleep 0.05; done"
    params = {"command": ["sh", "-c", script], "timeout": 6}
    run = make_run(tmp_path / "run", "jobs.command:Command", 1, params=params, workers=1)
    with subprocess.Popen(command(run)) as task:
        wait_until((tmp_path / "begun").exists)
        supervisor = psutil.Process(task.pid)
        processes = [supervisor, *supervisor.children(recursive=True)]
        try:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):  # a sleep that was over
                    process.suspend()
            assert select.select([], [], [], 7) == ([], [], [])  # longer than the timeout, in which nothing can happen
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
        (tmp_path / "gate").touch()
        assert task.wait(PATIENCE) == 0
    assert failures(run) == {}


@pytest.mark.parametrize(
    ("stdin", "value", "expected"), [("<{x}>", "ü", "<ü>".encode()), ("{x}", b"\0\xff", b"\0\xff"), (None, 0, b"")]
)
def test_a_program_reads_what_stdin_says(jobs: Any, stdin: str | None, value: Any, expected: bytes) -> None:
    assert jobs("cat", stdin=stdin, stdout="bytes").load(Row(x=value))["stdout"] == expected


@pytest.mark.parametrize(("program", "size"), [("cat", 3_000_000), ("true", 0)])
def test_much_input_blocks_nobody_whether_it_is_read_or_not(jobs: Any, program: str, size: int) -> None:
    assert len(jobs(program, stdin="{x}").load(Row(x="a" * 3_000_000))["stdout"]) == size


def test_both_outputs_and_files_are_captured_and_the_folder_is_gone_afterwards(jobs: Any, tmp_path: Path) -> None:
    script = "cd $0; echo $0; echo e >&2; printf one > a; mkdir b; printf '\\000\\377' > b/c"
    job = jobs("sh", "-c", script, "{tmp}", stderr="bytes", files={"a": "a", "c": "b/c"})
    first, second = job.load(Row()), job.load(Row())
    assert {name: first[name] for name in ("stderr", "a", "c")} == {"stderr": b"e\n", "a": b"one", "c": b"\0\xff"}
    assert first["stdout"] != second["stdout"]
    assert not Path(first["stdout"].strip()).exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("true", r"it wrote no file \{tmp\}/out"),
        ("mkdir $0/out", r"\{tmp\}/out is no file"),
        ("mkfifo $0/out", r"\{tmp\}/out is no file"),
        ("head -c 1001 /dev/zero > $0/out", r"\{tmp\}/out is larger than max_output \(1000 bytes\)"),
    ],
)
def test_a_file_that_cannot_be_taken_fails_the_sample(jobs: Any, script: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        jobs("sh", "-c", script, "{tmp}", files={"out": "out"}, max_output=1000).load(Row())


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo no such thing >&2; exit 3", r"^exit code 3 \(success: 0, 2\); stderr: no such thing$"),
        ("exit 1", r"^exit code 1 \(success: 0, 2\)$"),
        ("kill -SEGV $$", r"^killed by signal 11 \(SIGSEGV\)$"),
        ("yes long | head -c 99999 >&2; echo last >&2; exit 1", r"; stderr: (.|\n){290,300}$"),
    ],
)
def test_a_failure_says_how_it_ended_and_what_stderr_said_last(jobs: Any, script: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        jobs("sh", "-c", script, exit_codes=[0, 2]).load(Row())


def test_another_exit_code_may_be_success(jobs: Any) -> None:
    assert jobs("sh", "-c", "echo x; exit 2", exit_codes=[0, 2]).load(Row())["exit_code"] == 2


def test_output_that_is_not_text_is_told_of_and_kept_as_bytes(jobs: Any) -> None:
    with pytest.raises(ProgramError, match="stdout is not UTF-8 at byte 1; with stdout: bytes it is kept as it is"):
        jobs("printf", "a\\377").load(Row())
    assert jobs("printf", "a\\377", stdout="bytes").load(Row())["stdout"] == b"a\xff"


@pytest.mark.parametrize("too_much", ["fail", "truncate"])
def test_a_gigabyte_of_output_takes_no_memory(jobs: Any, too_much: str) -> None:
    job = jobs("head", "-c", str(GIGABYTE), "/dev/zero", max_output=1 << 20, too_much=too_much, stdout="bytes")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if too_much == "fail":
        with pytest.raises(ProgramError, match=r"^stdout is larger than max_output \(1048576 bytes\)$"):
            job.load(Row())
    else:
        assert job.load(Row())["stdout"] == bytes(1 << 20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB


def test_output_of_exactly_the_limit_is_whole_and_a_cut_leaves_no_half_of_a_character(jobs: Any) -> None:
    assert jobs("printf", "üü", max_output=4).load(Row())["stdout"] == "üü"
    assert jobs("printf", "üü", max_output=3, too_much="truncate").load(Row())["stdout"] == "ü"
    with pytest.raises(ProgramError, match=r"stdout is larger than max_output \(3 bytes\)"):
        jobs("printf", "üü", max_output=3).load(Row())


@pytest.mark.parametrize(
    ("then", "timeout", "message"),
    [
        ("wait", 0.5, r"took longer than timeout \(0.5 s\)"),
        ("exit 3", PATIENCE, "exit code 3"),
        ("echo done", PATIENCE, None),
    ],
)
def test_nothing_that_a_call_started_outlives_it(
    jobs: Any, mark: str, then: str, timeout: float, message: str | None
) -> None:
    job = jobs("sh", "-c", FAMILY.format(mark=mark, then=then), timeout=timeout)
    if message:
        with pytest.raises(ProgramError, match=message):
            job.load(Row())
    else:
        assert job.load(Row())["stdout"] == "done\n"
    assert sleepers(mark) == []


def test_a_program_has_default_signals_and_no_descriptor_of_ours(jobs: Any) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        status = jobs("cat", "/proc/self/status").load(Row())["stdout"]
        descriptors = jobs("ls", "/proc/self/fd").load(Row())["stdout"]
    finally:
        os.close(reading)
        os.close(writing)
    (ignored,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")]
    assert not int(ignored, 16) & (1 << (signal.SIGPIPE - 1))
    assert descriptors.split() == ["0", "1", "2", "3"]


def test_a_program_that_a_stop_signal_ended_is_started_again_but_not_for_ever(jobs: Any, tmp_path: Path) -> None:
    script = "echo x >> $0; [ $(wc -l < $0) -gt {} ] || kill -TERM $$; echo done"
    once, always = tmp_path / "once", tmp_path / "always"
    assert jobs("sh", "-c", script.format(1), str(once)).load(Row())["stdout"] == "done\n"
    with pytest.raises(ProgramError, match=r"killed by signal 15 \(SIGTERM\)"):
        jobs("sh", "-c", script.format(99), str(always)).load(Row())
    assert always.read_text() == "x\n" * 3


STOPPED = """
import os, signal, sys
from jobs.machine import lifeline
from jobs.program.programs import *
lifeline.ignore_signals()
programs = Programs()
script = f'kill -TERM {os.getpid()}; trap "exit 0" TERM; kill -TERM $$'
found = programs.run(Call(['sh', '-c', script], b'', 60, 9, True))
print(programs.stops, found.code)
"""


def test_a_stop_signal_is_counted_though_the_program_may_end_well_at_it() -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1 0\n"


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({}, "the manifest has no column 'x'; its columns and other fields: index, id, tmp"),
        ({"x": None}, "column 'x' is null here; valid: text and numbers"),
        ({"x": float("nan")}, "column 'x' is NaN here; valid: text and numbers"),
        ({"x": [1]}, "column 'x' is of type list here"),
        ({"x": "a\0b"}, "embedded null byte"),
    ],
)
def test_a_row_that_cannot_be_an_argument_fails_alone(jobs: Any, sample: dict[str, Any], message: str) -> None:
    job = jobs("echo", "{x}")
    with pytest.raises(ValueError, match=message):
        job.load(Row(sample))
    assert job.load(Row(x=1))["stdout"] == "1\n"


def test_a_program_that_a_sample_names_and_that_is_not_there_fails_alone(jobs: Any) -> None:
    with pytest.raises(ProgramError, match="this node has no program '/no/such/program'"):
        jobs("{program}").load(Row(program="/no/such/program"))


def test_a_node_without_the_program_says_so_before_any_sample(jobs: Any) -> None:
    with pytest.raises(InputError, match="this node has no program 'no-such-program'; valid: one on its PATH"):
        jobs("no-such-program", "{x}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"#!/bin/sh\r\necho\r\n",
            r"the line ends of .* are those of Windows, .* interpreter '#!/bin/sh\\r': dos2unix",
        ),
        (b"#! /nowhere/sh -e\necho\n", "the interpreter that .* names is not on this node: '#! /nowhere/sh -e'"),
    ],
)
def test_a_script_without_its_interpreter_is_told_of_with_its_first_line(
    jobs: Any, tmp_path: Path, content: bytes, message: str
) -> None:
    script = tmp_path / "script"
    script.write_bytes(content)
    script.chmod(0o755)
    with pytest.raises(InputError, match=message):
        jobs(str(script))
    with pytest.raises(ProgramError, match=message):
        jobs("{program}").load(Row(program=str(script)))


@pytest.mark.parametrize(
    ("content", "argument", "message"),
    [
        (b"echo\n", "", "is no program of this machine; a script begins with a line such as #!/bin/sh"),
        (b"#!/bin/sh\n", "x" * (4 << 20), "the arguments of .* are longer than the system takes"),
    ],
)
def test_what_cannot_be_started_fails_its_sample_with_the_reason(
    jobs: Any, tmp_path: Path, content: bytes, argument: str, message: str
) -> None:
    script = tmp_path / "script"
    script.write_bytes(content)
    script.chmod(0o755)
    with pytest.raises(ProgramError, match=message):
        jobs(str(script), "{x}").load(Row(x=argument))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"command": []}, r"command: \[\] is not valid; valid: a list"),
        ({"command": "ls -l"}, "command: 'ls -l' is not valid; valid: a list"),
        ({"command": ["head", "-c", 5]}, "command: 5 is not valid; valid: text"),
        ({"command": ["ls", "{"]}, "command: '{': .*; for a brace itself, write it twice"),
        ({"command": ["ls", "{}"]}, "command: '{}' is not valid; valid: {column} alone"),
        ({"command": ["ls", "{x:03d}"]}, "command: '{x:03d}' is not valid"),
        ({"command": ["ls", "{x!r}"]}, "command: '{x!r}' is not valid"),
        ({"stdin": "}"}, "stdin: '}': .*; for a brace itself, write it twice"),
        ({"stdout": "json"}, "stdout: 'json' is not valid; valid: text, bytes"),
        ({"files": {"a": "../a"}}, "files: '../a' is not valid; valid: output name -> path of a file below {tmp}"),
        ({"files": {"a": "/a"}}, "files: '/a' is not valid"),
        ({"files": {"stdout": "a"}}, "files: 'stdout' is not valid; valid: names that are not those of other outputs"),
        ({"exit_codes": []}, r"exit_codes: \[\] is not valid; valid: a list of numbers from 0 to 255"),
        ({"exit_codes": [256]}, r"exit_codes: \[256\] is not valid"),
        ({"timeout": 0}, "timeout: 0 is not valid; valid: seconds over 0"),
        ({"max_output": 0}, "max_output: 0 is not valid; valid: a number of bytes"),
        ({"too_much": "cut"}, "too_much: 'cut' is not valid; valid: fail, truncate"),
    ],
)
def test_parameters_that_cannot_work_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Command(**{"command": ["true"], **params})


# --- whole runs

SCRIPT = f"""case $1 in
13) sleep 1000 & sleep 1000;;
14) echo no file $1 >&2; exit 3;;
15) head -c {GIGABYTE} /dev/zero;;
*) printf %s "$1" | sha256sum;;
esac
"""


def test_a_thousand_calls_of_which_a_hanging_a_failing_and_a_talking_one_fail_alone(tmp_path: Path) -> None:
    (tmp_path / "script").write_text(SCRIPT)
    params = {"command": ["sh", "script", "{x}"], "timeout": 10, "max_output": 1 << 20}
    node = {"workers": 2, "batch_size": 50, "max_failed_samples": 3}
    config = write_config(tmp_path, 1000, shards=1, job="jobs.command:Command", params=params, node=node)
    done = launcher(tmp_path, "run", config)
    assert done.returncode == 0, done.stdout
    with results.open(run_of(config).result) as found:
        errors = dict(zip(found.errors["row"], found.errors["message"], strict=True))
        outputs = [str(text) for text in found["stdout"]]
    assert errors == {
        13: "ProgramError: took longer than timeout (10 s)",
        14: "ProgramError: exit code 3 (success: 0); stderr: no file 14",
        15: "ProgramError: stdout is larger than max_output (1048576 bytes)",
    }
    expected = [hashlib.sha256(str(row).encode()).hexdigest() + "  -\n" for row in range(1000)]
    assert outputs == ["" if row in errors else text for row, text in enumerate(expected)]
    end = last_end(run_of(config))
    assert end.peak_memory < 400 << 20


def plan_of_sleepers(folder: Path, mark: str, gate: Path) -> Any:
    """A run whose programs sleep with their families for as long as a file is there."""
    gate.touch()
    script = FAMILY.format(mark=mark, then=f"while [ -e {gate} ]; do sleep 0.05; done; echo $1")
    params = {"command": ["sh", "-c", script, "sh", "{x}"], "timeout": 100}
    return make_run(folder, "jobs.command:Command", 8, params=params, batch_size=2)


def test_kill_minus_9_of_the_supervisor_leaves_no_program_behind(tmp_path: Path, mark: str) -> None:
    run = plan_of_sleepers(tmp_path / "run", mark, tmp_path / "gate")
    with subprocess.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as task:
        wait_until(lambda: len(sleepers(mark)) == 4)
        tree = psutil.Process(task.pid).children(recursive=True)
        task.kill()
    wait_until(lambda: not sleepers(mark))
    wait_until(lambda: not alive(tree))


def test_a_pool_worker_that_is_killed_takes_its_program_along_and_the_run_goes_on(tmp_path: Path, mark: str) -> None:
    gate = tmp_path / "gate"
    run = plan_of_sleepers(tmp_path / "run", mark, gate)
    with subprocess.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as task:
        wait_until(lambda: len(sleepers(mark)) == 4)
        first = sleepers(mark)
        (worker, *_) = {ancestor_worker(process) for process in first} - {None}
        worker.kill()
        wait_until(lambda: len(alive(first)) == 2)
        gate.unlink()
        assert task.wait(PATIENCE) == 0
    assert failures(run) == {}
    assert sleepers(mark) == []


def ancestor_worker(process: psutil.Process) -> Any:
    """The pool worker that a sleeper hangs below, through its shell."""
    parents = process.parents()
    return parents[1] if len(parents) > 1 and parents[0].name() == "sh" else None


def test_a_stop_signal_to_every_process_of_a_task_fails_no_sample(tmp_path: Path, mark: str) -> None:
    gate = tmp_path / "gate"
    run = plan_of_sleepers(tmp_path / "run", mark, gate)
    with subprocess.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as task:
        wait_until(lambda: len(sleepers(mark)) == 4)
        root = psutil.Process(task.pid)
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # its parent had the signal before it
                process.terminate()
        assert task.wait(PATIENCE) == 75
    wait_until(lambda: not sleepers(mark))
    gate.unlink()
    write_submission(run, number=2)
    assert run_task(run, submission=2).returncode == 0
    assert failures(run) == {}


def test_the_programs_of_these_tests_are_here() -> None:
    assert all(map(shutil.which, ["sh", "setsid", "sha256sum", "head", "printf"]))


def test_a_call_can_be_made_without_a_job() -> None:
    programs = Programs()
    found = programs.run(Call(["echo", "x"], b"", 10, 10, True))
    programs.close()
    assert (found.code, bytes(found.stdout.head), found.problem) == (0, b"x\n", None)
