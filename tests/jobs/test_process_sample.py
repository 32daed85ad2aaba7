"""Which Jobs take samples one by one, and which are refused."""

from typing import Any

import pytest

from jobs.errors import InputError
from jobs.job import Context, Job, takes_samples


class _Plain(Job):
    def process_sample(self, item: Any, seed: int) -> dict[str, Any]:  # type: ignore[override]
        return {"y": item}


class _Both(Job):
    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch}

    async def process_sample(self, item: Any, seed: int) -> dict[str, Any]:
        return {"y": item}


class _Awaited(Job):
    async def setup(self, context: Context) -> None: ...

    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch}


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (_Plain, "async def process_sample"),
        (_Both, "keep one of them"),
        (_Awaited, r"_Awaited.setup is `async def`, which goes with process_sample only"),
    ],
)
def test_a_job_that_cannot_take_samples_one_by_one_is_refused(job: type[Job], message: str) -> None:
    with pytest.raises(InputError, match=message):
        takes_samples(job)
