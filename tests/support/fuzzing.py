"""Fuzzing: inputs that nobody thought of, to all that reads some (fuzz_targets.py).

``python -m tests.support.fuzzing FOLDER COUNT SEED [TARGET]`` tries COUNT inputs in all, and prints how many of each target
there were, and how many were refused with a message. Exit code 1 where one ended otherwise: by another exception, after more
than 2 s of a CPU (or 30 s of waiting), or with more than 200 MB. Those are kept in FOLDER.
"""

import contextlib
import os
import random
import resource
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from jobs.errors import LauncherError
from tests.support.fuzz_targets import Target, all_targets

SECONDS = 2.0
HANGS = 30.0
BYTES = 200 << 20


class TooSlow(Exception):
    """An input took more than SECONDS of a CPU, or HANGS: the machine may be busy with other things."""


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow(signal.Signals(number).name)


def refused(target: Target, data: bytes) -> bool:
    """Whether an input is refused with a message. Raises where it ends otherwise."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            target.take(data)
    except (LauncherError, OSError) as error:
        if not str(error):
            raise AssertionError(f"{type(error).__name__} without a message") from error
        return True
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return False


def refused_in_fork(target: Target, data: bytes) -> bool:
    """The same in a process of its own: where that dies by a signal, a library has crashed."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(refused(target, data))
        except BaseException:  # noqa: BLE001 - the process boundary
            traceback.print_exc()
            os._exit(9)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, 1):
        raise AssertionError(f"its process ended with {code}")
    return code == 1


def peak() -> int:
    """The most memory that this process or a child of it has had, bytes."""
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _cpu_seconds() -> float:
    return sum(os.times()[:4])


def try_one(target: Target, data: bytes) -> bool:
    before = peak()
    found = (refused_in_fork if target.forks else refused)(target, data)
    if (more := peak() - before) > BYTES:
        raise AssertionError(f"{more >> 20} MB more memory")
    return found


def try_many(target: Target, count: int, seed: int, folder: Path) -> int:
    """Returns how many ended otherwise."""
    dice, found, slowest, problems = random.Random(seed), 0, 0.0, 0
    for number in range(count):
        data, began = target.make(dice), _cpu_seconds()
        try:
            found += try_one(target, data)
        except Exception:  # noqa: BLE001 - this is what is looked for
            problems += 1
            kept = folder / f"input-{target.name}-{number}"
            kept.write_bytes(data)
            print(f"{target.name}, number {number} of seed {seed}, in {kept}:\n{traceback.format_exc()[-1500:]}")
        slowest = max(slowest, _cpu_seconds() - began)
    print(
        f"{target.name}: {count} inputs, {found} refused, {problems} wrong, {slowest:.2f} s of a CPU at most",
        flush=True,
    )
    return problems


def main(folder: Path, count: int, seed: int, only: str | None = None) -> int:
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, _too_slow)
    targets = [target for target in all_targets(folder) if only in (None, target.name)]
    weights = sum(target.weight for target in targets)
    problems = sum(try_many(target, max(1, count * target.weight // weights), seed, folder) for target in targets)
    return min(problems, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:5]))
