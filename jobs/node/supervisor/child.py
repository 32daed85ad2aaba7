"""Child: a process or pool worker as the supervisor sees it, and its end, which may not come."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from jobs.exit_codes import exit_text
from jobs.kinds import SampleFailureKind
from jobs.node.beacon import RowRange
from jobs.node.channel import Channel
from jobs.node.messages import Lost
from jobs.node.supervisor.fork_server import Forked

# Seconds after SIGKILL in which a child is gone, and all that it had started, but for what hangs in the kernel: a guardian
# takes 3 at most.
END_SECONDS = 4.0


@dataclass(eq=False)
class Child:
    """A process, or pool worker ``worker`` of it, that was started."""

    process: int
    worker: int | None
    handle: Forked
    beacon: int
    connection: Channel | None = None
    watched: tuple[object, float] = (None, 0.0)
    killed_for: SampleFailureKind | None = None
    killed_why: str = ""
    is_killed: bool = False
    unending_since: float | None = None
    lost: Lost | None = None

    @property
    def name(self) -> str:
        return f"process {self.process}" + ("" if self.worker is None else f", pool worker {self.worker}")

    @property
    def pid(self) -> int:
        return self.handle.pid

    def kill(self, kind: SampleFailureKind | None = None, why: str = "") -> None:
        """SIGKILL; ``kind`` is the failure kind of the rows that it is at, ``why`` says it, in words."""
        self.killed_for = kind
        self.killed_why = why
        self.is_killed = True
        self.handle.kill()

    def tell(self, message: Any) -> None:
        """Sends a message to a process. One that has died gets none: its sentinel tells, and its successor gets its own."""
        try:
            if self.connection:
                self.connection.send(message)
        except ConnectionError:
            return

    def receive(self) -> Any:
        """The next message of a process; None where it is gone, which its sentinel tells too."""
        assert self.connection is not None
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.connection.close()
            self.connection = None
            return None

    @property
    def is_dead(self) -> bool:
        return self.handle.exitcode is not None

    @property
    def how(self) -> str:
        """How it came to its end."""
        if self.killed_for is SampleFailureKind.SAMPLE_TIMEOUT:
            return f"{self.killed_why}, and was killed"
        return f"died of {self.exit_text()}"

    def exit_text(self) -> str:
        return exit_text(self.handle.exitcode)


def end(children: Collection[Child]) -> None:
    """Kills children, and waits until they are gone with all that they have started; tells of those that would not go."""
    for child in children:
        child.kill()
    await_end(children)


def await_end(children: Collection[Child]) -> None:
    """Waits until children that are dead or killed are gone, as above."""
    deadline = time.monotonic() + END_SECONDS
    for child in children:
        if not child.handle.join(max(0, deadline - time.monotonic())):
            what = "a process that it has started" if child.is_dead else "it"
            print(
                f"{child.name} (pid {child.pid}): {what} cannot be ended, not even by SIGKILL, and is left behind; "
                "mostly it waits in the kernel for a file system or a device that does not answer",
                flush=True,
            )


def at(rows: RowRange | None) -> str:
    """Where a child was, for messages."""
    if rows is None:
        return ""
    return f" at sample {rows[0]}" if rows[1] - rows[0] == 1 else f" at samples {rows[0]} to {rows[1] - 1}"
