"""What of a Job's class can be seen to fail for each sample, before any is tried."""

import inspect

from jobs.errors import InputError
from jobs.job import Job
from jobs.late_annotations import signature_of

# What each method is called with, beside the Job itself.
_ARGUMENTS = {
    "setup_worker": "context",
    "load": "sample",
    "collate": "items",
    "setup": "context",
    "process": "batch",
    "process_sample": "item, seed",
    "reduce": "state, block",
    "finish": "state",
    "teardown": "",
}


def check_work(cls: type[Job]) -> None:
    """Raises InputError where the Job has nothing that makes results, or a method that cannot be called."""
    if cls.process is Job.process and cls.process_sample is Job.process_sample:
        raise InputError(
            f"job.class: {cls.__name__} has neither process nor process_sample; valid: a class with "
            "`def process(self, batch)`, which returns {output name: array}, or `async def process_sample(self, item, seed)`"
        )
    for name, arguments in _ARGUMENTS.items():
        method = inspect.getattr_static(cls, name)
        if not inspect.isfunction(method):  # a static method, or an object that can be called: it takes what it takes
            continue
        try:
            signature_of(method).bind(*["self", *filter(None, arguments.split(", "))])
        except TypeError as error:
            prefix = "async def" if name == "process_sample" else "def"
            valid = f"{prefix} {name}({', '.join(filter(None, ['self', arguments]))})"
            found = f"{name}{signature_of(method)}"
            raise InputError(f"job.class: {cls.__name__}.{found} cannot be called: {error}; valid: `{valid}`") from None
