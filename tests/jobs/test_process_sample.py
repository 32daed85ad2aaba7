"""Which Jobs take samples one by one, and which are refused."""

from typing import Any

import pytest

from jobs.errors import InputError
from jobs.job import Context, Job, takes_samples
from jobs.job_check import check_work


class _Plain(Job):
    def process_sample(self, item: Any, seed: int) -> dict[str, Any]:  # type: ignore[override]
        return {"y": item}


class _Both(Job):
    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch}

    async def process_sample(self, item: Any, seed: int) -> dict[str, Any]:
        return {"y": item}


class _Generator(Job):
    async def process_sample(self, item: Any, seed: int) -> Any:
        yield {"y": item}


class _Awaited(Job):
    async def setup(self, context: Context) -> None: ...

    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch}


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (_Plain, "is a plain function; valid: `async def process_sample`"),
        (_Generator, "is an async generator; valid: `async def process_sample` that returns outputs"),
        (_Both, "keep one of them"),
        (_Awaited, r"_Awaited.setup is `async def`, which goes with process_sample only"),
    ],
)
def test_a_job_that_cannot_take_samples_one_by_one_is_refused(job: type[Job], message: str) -> None:
    with pytest.raises(InputError, match=message):
        takes_samples(job)


class _Short(Job):
    async def process_sample(self, item: Any) -> dict[str, Any]:  # type: ignore[override]
        return {"y": item}


class _Bare(Job):
    def setup(self) -> None: ...  # type: ignore[override]

    def process(self, batch: Any) -> dict[str, Any]:
        return {"y": batch}


class _Free(Job):
    @staticmethod
    def load(sample: Any) -> Any:
        return sample["x"]

    def process(self, batch: Any, *more: Any, scale: float = 1.0) -> dict[str, Any]:
        return {"y": batch}

    teardown = print


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (
            _Short,
            r"_Short.process_sample\(self, item: .* cannot be called: .*; valid: `async def process_sample\(self, item, seed",
        ),
        (_Bare, r"_Bare.setup\(self\) -> None cannot be called: .*; valid: `def setup\(self, context\)`"),
    ],
)
def test_a_job_with_a_method_that_cannot_be_called_is_refused(job: type[Job], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_work(job)


def test_methods_may_take_more_than_they_are_called_with() -> None:
    check_work(_Free)
