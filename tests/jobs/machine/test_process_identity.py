"""ProcessIdentity: a process is known by its start, however it is named and whoever gets its pid."""

import dataclasses
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from jobs.machine.process_identity import ProcessIdentity
from jobs.machine.process_stat import ProcessStat
from tests.support.patience import PATIENCE


def test_a_name_with_spaces_and_brackets_changes_nothing(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "60"]) as process:
        stat = ProcessStat.of(process.pid)
        assert stat is not None
        assert stat.state in "RSD"
        me = ProcessStat.of(os.getpid())
        assert me is not None
        assert me.start <= stat.start
        process.kill()


def test_the_cpu_time_is_that_of_the_process() -> None:
    used = time.process_time()
    stat = ProcessStat.of(os.getpid())
    assert stat is not None
    assert used - 0.05 <= stat.cpu_seconds <= time.process_time() + 0.05


def test_a_dead_process_that_nobody_asked_for_its_end_is_not_alive() -> None:
    process = subprocess.Popen(["sleep", "60"])
    identity = ProcessIdentity.of(process.pid)
    assert identity is not None
    assert identity.is_alive
    identity.send(signal.SIGKILL)
    assert identity.wait(PATIENCE)
    assert Path(f"/proc/{process.pid}").exists()
    process.wait()
    assert ProcessStat.of(process.pid) is None


def test_another_process_with_the_pid_is_not_the_one() -> None:
    me = ProcessIdentity.current()
    assert me.is_alive
    assert not dataclasses.replace(me, start=me.start + 1).is_alive
    assert not dataclasses.replace(me, boot="another").is_alive
    assert ProcessIdentity.from_json(me.to_json()) == me


def test_the_same_pid_in_another_container_is_another_process() -> None:
    me = ProcessIdentity.current()
    theirs = dataclasses.replace(me, namespace="pid:[1]")
    assert not theirs.is_here
    assert not theirs.is_alive
    before = {key: value for key, value in me.to_json().items() if key != "namespace"}
    assert ProcessIdentity.from_json(before).is_alive  # as an older version wrote it
