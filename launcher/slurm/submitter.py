"""Submitter: submitit's executor, submitting a script that is on disk already. Used by scheduler.py, for every submission.

Nothing is pickled, and no file is made per element. Imported where it is used: submitit takes a while to import.
"""

import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path

from submitit.core.utils import FailedJobError, FailedSubmissionError
from submitit.slurm.slurm import SlurmExecutor

from launcher.slurm.parsers import said
from launcher.slurm.scheduler import NoJobId, SbatchFailed, clean_environment


class _Submitter(SlurmExecutor):
    def __init__(self, folder: str, script: Path) -> None:
        super().__init__(folder)
        self._script = script

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return self._script.read_text()

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        # An sbatch that outlived its launcher would submit what the next launcher does not find yet, and submits too.
        bound = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        unset = [f"--unset={name}" for name in os.environ.keys() - clean_environment().keys()]
        return [*bound, "env", *unset, "sbatch", str(self._script)]

    def submit_script(self) -> str:
        """Returns the Slurm job id; raises what submitit raises."""
        return self._submit_command("").job_id


def sbatch(script: Path) -> str:
    """Submits the script once; returns the Slurm job id. Raises SbatchFailed, or NoJobId where its answer has none."""
    # submitit prints what sbatch said; here it is in the error, which may be none for the user.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        try:
            return _Submitter(folder, script).submit_script()
        except FailedSubmissionError as error:
            raise NoJobId(said(str(error))) from None
        except FailedJobError as error:
            raise SbatchFailed(said(str(error))) from None
