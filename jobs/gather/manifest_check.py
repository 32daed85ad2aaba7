"""Looking at manifest.arrow: whether it still has the samples that were planned, before a result tells their ids."""

from jobs.errors import DamageError
from jobs.storage.plans import Plan
from jobs.storage.rundir import RunDir
from jobs.storage.samples import REMEDY, Samples


def check_manifest(run: RunDir, plan: Plan, *, whole: bool = True) -> None:
    """Reads all of it; not ``whole``: only where a result has something of it, its ids.

    Raises DamageError where it is gone or another one, RunError where it cannot be read at all.
    """
    path = plan.manifest_file(run)
    try:
        samples = Samples(path, plan.manifest_digests)
        if whole or plan.id_column is not None:
            samples.check()
    except FileNotFoundError as error:
        raise DamageError(f"{path}: is gone; {REMEDY}") from error
    except OSError as error:
        raise DamageError(f"{path}: {error.strerror or error}") from error
    if len(samples) != plan.rows:
        raise DamageError(f"{path} has {len(samples)} rows, and the plan {plan.rows}: plan a new run")
