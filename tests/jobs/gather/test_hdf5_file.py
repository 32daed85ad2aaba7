"""What HDF5 cannot write is an OSError, whenever it finds out."""

import errno
import subprocess
import sys
from pathlib import Path

from tests.support.launcher_runs import environment

PROGRAM = """
import resource, signal, sys
from pathlib import Path
from jobs.gather.result_file import Contents, complete, filling
from jobs.storage.records import Output

sys.dont_write_bytecode = True  # it would be cut off
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
outputs = (Output("x", False, "<f4", (3,)), Output("t", True, "|u1", (), "utf-8"))
contents = Contents(100, outputs, {"t": 50})
path = Path(sys.argv[1])


def make():
    with filling(path, -1, contents, {}):
        pass
    complete(path, {}, None)


make()
for size in range(0, path.stat().st_size, 256):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        make()
    except OSError as error:
        print(error.errno)
    else:
        print("written")
    path.unlink()
"""


def test_whatever_does_not_fit_is_an_error_of_the_file_system(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "r.h5")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) <= {str(errno.EFBIG), str(errno.EIO)}, done.stdout
