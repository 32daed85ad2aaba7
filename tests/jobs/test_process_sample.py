"""Which Jobs take samples one by one, and which are refused."""

from typing import Any

import pytest

from jobs.errors import InputError
from jobs.job import Job, takes_samples


class _Plain(Job):
    def process_sample(self, item: Any, seed: int) -> dict[str, Any]:  # type: ignore[override]
        return {"y": item}


class _Both(Job):
    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch}

    async def process_sample(self, item: Any, seed: int) -> dict[str, Any]:
        return {"y": item}


@pytest.mark.parametrize(("job", "message"), [(_Plain, "async def process_sample"), (_Both, "keep one of them")])
def test_a_job_that_cannot_take_samples_one_by_one_is_refused(job: type[Job], message: str) -> None:
    with pytest.raises(InputError, match=message):
        takes_samples(job)
