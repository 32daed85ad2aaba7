"""Port: where a server of a process is to listen on this machine, kept from other processes of ours, and who listens there."""

import os
import socket
from pathlib import Path

from jobs.errors import ProcessBroken

# Tries of ports until one is not a neighbour's.
_TRIES = 100
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS = "0A"
_ROOT = 0


class Port:
    """A free port. A server binds its port long after it was chosen: where two had the same one, one would ask the other's.

    So it is claimed by ``close``, or the end of this process.
    """

    def __init__(self) -> None:
        for _ in range(_TRIES):
            self.number = free_port()
            self._claim = socket.socket(socket.AF_UNIX)
            try:
                # A name of no file, of all users, gone with its process.
                self._claim.bind(f"\0launcher-port-{self.number}")
            except OSError:
                self._claim.close()
            else:
                return
        raise ProcessBroken(f"no port is free that no other process has chosen, in {_TRIES} tries")

    @property
    def is_others(self) -> bool:
        """Whether it is a server of another user that listens there; of root may be a container's."""
        return not listeners(self.number) <= {os.getuid(), _ROOT}

    def close(self) -> None:
        self._claim.close()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def listeners(port: int) -> set[int]:
    """The users whose servers listen at a port, on any address."""
    found = set()
    for table in _TABLES:
        rows = (line.split() for line in table.read_text().splitlines()[1:]) if table.exists() else ()
        found |= {int(row[7]) for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port}
    return found
