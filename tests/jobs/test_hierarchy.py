"""Hierarchy: results in order, failures of single samples, bounded memory, with real processes."""

import asyncio
import functools
import itertools
import operator
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jobs
from jobs import Hierarchy
from jobs.errors import InputError, RunError, SampleFailed
from jobs.library.batch_size import BatchSize
from jobs.parameters import made_with
from tests.example_jobs.hierarchy_jobs import Contained, Leaves, Passes, Scale, Unready, misbehave
from tests.example_jobs.sample_jobs import Hungry
from tests.example_jobs.wordless_jobs import square_but_five
from tests.support.launcher_runs import wait_until
from tests.support.patience import PATIENCE


@pytest.fixture(scope="module")
def squares() -> Iterator[Hierarchy]:
    with Hierarchy(lambda number: number * number, workers=2) as hierarchy:
        yield hierarchy


@pytest.fixture(scope="module")
def echo() -> Iterator[Hierarchy]:
    with Hierarchy(lambda value: value, workers=2) as hierarchy:
        yield hierarchy


@pytest.fixture(scope="module")
def troubled() -> Iterator[Hierarchy]:
    with Hierarchy(misbehave, workers=2) as hierarchy:
        yield hierarchy


def supervisor() -> psutil.Process:
    """That of the Hierarchy that was made last."""
    return max(psutil.Process().children(), key=psutil.Process.create_time)


def exchange() -> Path:
    """The shared memory of the Hierarchy that was made last."""
    descriptors = Path(f"/proc/{supervisor().pid}/fd").iterdir()
    return next(path for path in descriptors if "launcher-exchange" in os.readlink(path))


def bytes_of(shared: Path) -> int:
    """What shared memory takes of the machine's."""
    return shared.stat().st_blocks * 512


# --- order


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers() | st.text() | st.none() | st.lists(st.floats(allow_nan=False)), max_size=300))
def test_any_samples_come_back_in_their_order(echo: Hierarchy, samples: list[Any]) -> None:
    assert echo.map(samples) == samples


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000, 100_000])
def test_map_and_imap_keep_the_order(squares: Hierarchy, count: int) -> None:
    expected = [number * number for number in range(count)]
    assert squares.map(range(count)) == expected
    assert list(squares.imap(iter(range(count)))) == expected


def test_many_passes_over_many_samples_lose_and_mix_nothing(squares: Hierarchy) -> None:
    expected = [number * number for number in range(20_000)]
    for _ in range(50):
        assert squares.map(range(20_000)) == expected


def test_unordered_has_every_result_once(squares: Hierarchy) -> None:
    assert sorted(squares.imap_unordered(range(5000))) == [number * number for number in range(5000)]


def await_both(hierarchy: Hierarchy, sample: Any) -> None:
    """Waits until both workers are there, one of which may take long to begin; the result of the sample is its pid."""
    wait_until(lambda: len(set(hierarchy.map([sample] * 4))) == 2)


def test_a_result_that_is_ready_overtakes_only_where_order_is_not_asked_for(tmp_path: Path) -> None:
    def work(sample: tuple[str, Path]) -> str | int:
        what, gate = sample
        if what == "wait":
            wait_until(gate.exists)
        if what == "open":
            gate.touch()
        return os.getpid() if what == "who" else what

    first, second = tmp_path / "first", tmp_path / "second"
    with Hierarchy(work, workers=2, batch_size=1) as hierarchy:
        await_both(hierarchy, ("who", first))
        results = hierarchy.imap_unordered([("wait", first), ("pass", first)])
        assert next(results) == "pass"
        first.touch()
        assert list(results) == ["wait"]
        assert list(hierarchy.imap([("wait", second), ("open", second)])) == ["wait", "open"]


def test_reduce_folds_in_the_order_of_the_samples(squares: Hierarchy) -> None:
    assert squares.reduce(operator.add, range(1000)) == sum(number * number for number in range(1000))
    assert squares.reduce(lambda text, number: f"{text} {number}", range(4), "") == " 0 1 4 9"
    assert squares.reduce(operator.add, [], 5) == 5
    with pytest.raises(TypeError):
        squares.reduce(operator.add, [])


# --- samples without end, back-pressure


def test_imap_of_samples_without_end_draws_a_bounded_number(echo: Hierarchy) -> None:
    drawn = itertools.count()
    results = echo.imap(drawn)
    assert [next(results) for _ in range(1000)] == list(range(1000))
    results.close()
    assert next(drawn) < 1_000_000


def test_more_samples_than_a_length_can_tell_are_drawn_as_those_without_end(echo: Hierarchy) -> None:
    results = echo.imap(range(10**30))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()


def test_a_consumer_that_stops_stops_the_producers(tmp_path: Path) -> None:
    def note(number: int) -> None:
        (tmp_path / str(number)).touch()

    with Hierarchy(note, workers=2, batch_size=10) as hierarchy:
        drawn: list[int] = []

        def source() -> Iterator[int]:
            for number in itertools.count():
                drawn.append(number)
                yield number

        results = hierarchy.imap(source())
        next(results)
        first = len(drawn)
        wait_until(lambda: len(list(tmp_path.iterdir())) == first)  # and now the workers have nothing left to do
        assert len(drawn) == first <= 10 * 20
        results.close()


def test_a_slow_source_does_not_hold_back_results(tmp_path: Path) -> None:
    drawn = []

    def note(number: int) -> int:
        (tmp_path / str(number)).touch()
        return number

    def source() -> Iterator[int]:
        yield 0
        wait_until((tmp_path / "0").exists)  # the result is on its way, and a few more may be drawn before it is here
        for number in range(1, 7):  # there would be room for all
            drawn.append(number)
            time.sleep(0.3)
            yield number

    with Hierarchy(note, workers=2) as hierarchy:
        results = hierarchy.imap(source())
        assert next(results) == 0
        assert len(drawn) < 6
        assert list(results) == [1, 2, 3, 4, 5, 6]


def test_a_system_that_takes_no_memory_back_fails_no_pass(echo: Hierarchy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmap.MADV_REMOVE", 999)  # as in gVisor, where it is none that is known
    assert [len(one) for one in echo.map([bytes(1_000_000)] * 2)] == [1_000_000] * 2


def test_results_of_large_arrays_take_no_more_memory_than_what_is_under_way() -> None:
    most = 0
    with Hierarchy(lambda number: np.full(1 << 20, number % 256, np.uint8), workers=2) as hierarchy:
        shared = exchange()
        for number, array in enumerate(hierarchy.imap(range(600))):
            assert array[0] == number % 256
            most = max(most, bytes_of(shared))
        assert most < 100 << 20
        assert bytes_of(shared) < 4 << 20


def test_a_slow_worker_takes_less(tmp_path: Path) -> None:
    slow, tally = tmp_path / "slow", tmp_path / "tally"
    tally.touch()

    def work(number: int) -> int:
        """The first sample of all takes until 200 others are done."""
        try:
            os.close(os.open(slow, os.O_CREAT | os.O_EXCL))
            wait_until(lambda: tally.stat().st_size >= 200)
        except FileExistsError:
            with tally.open("ab", buffering=0) as file:
                file.write(b"x")
        time.sleep(0.002)
        return os.getpid()

    with Hierarchy(work, workers=2) as hierarchy:
        counts = np.unique(list(hierarchy.imap_unordered(range(300))), return_counts=True)[1]
    assert len(counts) == 2
    assert counts.min() <= 100


def test_slow_samples_are_shared_out_evenly(tmp_path: Path) -> None:
    tally = tmp_path / "tally"

    def work(number: int) -> int:
        """The first of a worker takes until two are begun, the second until four are: of four nobody gets a third."""
        if number >= 0:
            work.own = getattr(work, "own", 0) + 1  # type: ignore[attr-defined]
            with tally.open("ab", buffering=0) as file:
                file.write(b"x")
            wait_until(lambda: tally.stat().st_size >= 2 * work.own)  # type: ignore[attr-defined]
        return os.getpid()

    with Hierarchy(work, workers=2) as hierarchy:
        await_both(hierarchy, -1)
        assert max(np.unique(hierarchy.map(range(4)), return_counts=True)[1]) == 2


# --- what travels


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6).reshape(2, 3),
        np.arange(100_000.0).reshape(100, 1000),
        np.arange(200_000)[::2],
        np.array(["a", None], object),
        {"a": [np.zeros(20_000), "x"], "b": (1, b"y" * 50_000)},
    ],
    ids=["small", "large", "strided", "objects", "nested"],
)
def test_arrays_travel_both_ways_and_are_writable_and_their_owners(echo: Hierarchy, value: Any) -> None:
    (found,) = echo.map([value])
    np.testing.assert_equal(found, value)
    if isinstance(found, np.ndarray):
        found[:1] = found[:1]
        assert found is not value


def test_a_function_may_change_its_sample() -> None:
    def change(array: np.ndarray) -> np.ndarray:
        array += 1
        return array

    with Hierarchy(change, workers=2) as hierarchy:
        samples = [np.full(50_000, float(number)) for number in range(40)]
        assert [array[0] for array in hierarchy.map(samples)] == [number + 1 for number in range(40)]
        assert [array[0] for array in samples] == list(range(40))


def test_a_result_is_not_overwritten_by_later_ones(echo: Hierarchy) -> None:
    kept = list(echo.imap(np.full(50_000, number) for number in range(200)))
    assert [(array == number).all() for number, array in enumerate(kept)] == [True] * 200


def test_tensors_travel_both_ways_after_torch_was_used_here() -> None:
    torch = pytest.importorskip("torch")
    big = torch.rand(300, 300)
    big @ big

    with Hierarchy(lambda tensor: (tensor * 2, tensor.shape), workers=2) as hierarchy:
        (double, shape), (half, _) = hierarchy.map([big, torch.ones(2, dtype=torch.bfloat16)])
    assert torch.equal(double, big * 2)
    assert shape == big.shape
    assert half.dtype == torch.bfloat16


def test_a_tensor_keeps_that_it_requires_a_gradient(echo: Hierarchy) -> None:
    torch = pytest.importorskip("torch")
    (found,) = echo.map([torch.ones(3, requires_grad=True)])
    assert found.requires_grad


def test_a_sample_that_cannot_be_sent_is_named(squares: Hierarchy) -> None:
    with pytest.raises(InputError, match=r"sample 2 \(a generator\) cannot be sent to the workers.*path or a number"):
        squares.map([1, 2, (number for number in range(3))])
    assert squares.map([3]) == [9]


def test_a_result_that_cannot_be_sent_fails_its_sample_alone(troubled: Hierarchy) -> None:
    ok, failed = troubled.map(["ok", "generator"], on_error="return")
    assert ok == "ok"
    assert failed.kind == "PROCESS"
    assert "its result (a generator) cannot be sent back" in failed.message


def test_a_result_that_cannot_be_loaded_here_fails_its_sample_alone() -> None:
    def refuse() -> None:
        raise ValueError("not here")

    class Refusing:
        def __reduce__(self) -> tuple[Any, ...]:
            return refuse, ()

    with Hierarchy(lambda number: Refusing() if number == 5 else number, workers=1) as hierarchy:
        found = hierarchy.map(range(64), on_error="return")
    assert [number for number, one in enumerate(found) if one is not number and one != number] == [5]
    assert "its result cannot be loaded here: ValueError: not here" in found[5].message


def test_a_function_that_cannot_be_sent_is_refused_and_what_holds_it_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(InputError, match=r"the variable 'lock' \(a lock\) cannot be sent to other processes"):
        Hierarchy(lambda number: lock)


def test_what_a_job_was_made_with_and_does_not_keep_is_not_sent() -> None:
    class Made(Scale):
        def __init__(self, lock: Any) -> None:
            self.is_locked = lock.locked()

    job = Made(threading.Lock())
    with Hierarchy(job, workers=0):
        assert made_with(job)


def test_a_job_that_cannot_be_sent_is_refused_and_its_attribute_is_named() -> None:
    job: Any = Scale()
    job.lock = threading.Lock()
    with pytest.raises(InputError, match=r"the attribute 'lock' \(a lock\) cannot be sent"):
        Hierarchy(job)


def test_a_function_of_a_module_that_the_workers_do_not_have_says_so() -> None:
    import types

    module = types.ModuleType("nowhere")
    exec("def function(x): return x", module.__dict__)
    import sys

    sys.modules["nowhere"] = module
    try:
        with (
            Hierarchy(module.function, workers=1) as hierarchy,
            pytest.raises(RunError, match="No module named 'nowhere'"),
        ):
            hierarchy.map([1])
    finally:
        del sys.modules["nowhere"]


# --- Jobs


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_that_are_parts_of_the_batch_stay_as_they_were_when_it_is_done_in_halves(workers: int) -> None:
    with Hierarchy(Passes, devices=["cpu"], workers=workers, batch_size=16) as hierarchy:
        results = hierarchy.map(range(64), on_error="return")
    assert [number for number, result in enumerate(results) if isinstance(result, SampleFailed)] == [13]
    assert all((result["rows"] == number).all() for number, result in enumerate(results) if number != 13)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_result_of_a_jobs_sample_is_its_row_of_the_outputs(workers: int) -> None:
    with Hierarchy(Scale(3), devices=["cpu", "cpu"], workers=workers, batch_size=7) as hierarchy:
        results = hierarchy.map(range(100))
    assert [result["text"] for result in results] == [f"cpu {number}" for number in range(100)]
    assert all((result["y"] == 3 * number).all() for number, result in enumerate(results))


@pytest.mark.parametrize("kind", ["series", "arrow", "memory"])
def test_numbers_in_containers_of_others_are_taken_as_an_array_task_takes_them(kind: str) -> None:
    with Hierarchy(Contained(kind), devices=["cpu"], workers=0, batch_size=4) as hierarchy:
        assert [result["y"] for result in hierarchy.map(range(10))] == list(range(10))


@pytest.mark.parametrize("kind", ["texts", "arrow texts"])
def test_texts_in_containers_of_others_are_refused_with_the_name_of_the_output(kind: str) -> None:
    with Hierarchy(Contained(kind), devices=["cpu"], workers=0) as hierarchy:
        (failed,) = hierarchy.map([1], on_error="return")
    assert failed.kind == "PROCESS"
    assert re.search(r"output 'y' has dtype .*; valid: bool, numbers, lists of str or bytes", failed.message)


def test_a_jobs_class_is_made_in_each_process() -> None:
    with Hierarchy(Scale, devices=["cpu"], workers=1) as hierarchy:
        assert hierarchy.map([4])[0]["y"][0] == 8


def test_a_job_that_returns_no_dict_is_told_what_is_valid() -> None:
    class Lists(Scale):
        def process(self, batch: Any) -> Any:
            return list(batch)

    class Short(Scale):
        def process(self, batch: Any) -> Any:
            return {"y": batch[1:]}

    for job, message in ((Lists(), "a list; valid: a dict of output name"), (Short(), "has 0 rows for a batch of 1")):
        with Hierarchy(job, devices=["cpu"], workers=1) as hierarchy:
            (failed,) = hierarchy.map([1], on_error="return")
        assert failed.kind == "PROCESS"
        assert message in failed.message


def test_a_setup_that_fails_is_told_at_the_first_pass() -> None:
    with Hierarchy(Unready(), devices=["cpu"], workers=1) as hierarchy:
        with pytest.raises(RunError, match=r"cannot go on \(ERROR\): setup: RuntimeError: no such model"):
            hierarchy.map([1])
        with pytest.raises(RunError, match="no such model"):
            hierarchy.map([1])


def test_jobs_are_torn_down_at_the_end(tmp_path: Path) -> None:
    with Hierarchy(Leaves(tmp_path), devices=["cpu"], workers=2) as hierarchy:
        hierarchy.map([1])
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("load", "LOAD", "ValueError: cannot load 30"),
        ("process", "PROCESS", "RuntimeError: cannot process 30"),
        ("kill-worker", "CRASH", "SIGKILL"),
        ("kill-process", "CRASH", "SIGSEGV"),
    ],
)
def test_a_bad_sample_of_a_job_fails_alone(workers: int, what: str, kind: str, message: str) -> None:
    with Hierarchy(Scale(2, {30: what}), devices=["cpu"], workers=workers, batch_size=16) as hierarchy:
        results = hierarchy.map(range(64), on_error="return")
    failed = results.pop(30)
    assert (failed.kind, failed.index) == (kind, 30)
    assert message in failed.message
    assert all(isinstance(result, dict) for result in results)


def test_an_async_function_runs_for_the_samples_of_a_batch_at_the_same_time() -> None:
    here: list[int] = []

    async def meet(number: int) -> float:
        here.append(number)
        async with asyncio.timeout(PATIENCE):
            while len(here) < 20:  # all others have begun, too
                await asyncio.sleep(0.001)
        return number / (number - 7)

    with Hierarchy(meet, workers=1, batch_size=20) as hierarchy:
        results = hierarchy.map(range(20), on_error="return")
    failed = results.pop(7)
    assert (failed.kind, failed.index) == ("PROCESS", 7)
    assert results == [number / (number - 7) for number in range(20) if number != 7]


# --- failures


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("raise", "PROCESS", "ValueError: bad sample"),
        ("exit", "PROCESS", "SystemExit: 3"),
        ("segfault", "CRASH", "SIGSEGV"),
        ("kill", "CRASH", "SIGKILL"),
    ],
)
def test_a_bad_sample_fails_alone(troubled: Hierarchy, what: str, kind: str, message: str) -> None:
    samples = [*range(500), what, *range(500)]
    results = troubled.map(samples, on_error="return")
    failed = results.pop(500)
    assert isinstance(failed, SampleFailed)
    assert (failed.kind, failed.index) == (kind, 500)
    assert message in failed.message
    assert results == [*range(500), *range(500)]


def test_several_bad_samples_fail_each_for_itself(troubled: Hierarchy) -> None:
    samples = ["raise" if number % 10 == 3 else number for number in range(1000)]
    results = troubled.map(samples, on_error="return")
    assert [isinstance(result, SampleFailed) for result in results] == [number % 10 == 3 for number in range(1000)]


def test_an_exception_that_cannot_be_told_fails_its_sample_alone() -> None:
    with Hierarchy(square_but_five, workers=2) as hierarchy:
        found = hierarchy.map(range(8), on_error="return")
    assert [value for value in found if not isinstance(value, SampleFailed)] == [0, 1, 4, 9, 16, 36, 49]
    assert "Wordless: (its text cannot be told" in str(found[5])


def test_a_failure_is_raised_in_its_turn_with_the_text_of_its_traceback_and_the_hierarchy_goes_on(
    troubled: Hierarchy,
) -> None:
    results = troubled.imap([*range(100), "raise", *range(1000)])
    good = list(itertools.islice(results, 100))
    with pytest.raises(SampleFailed, match=r"sample 100 failed \(PROCESS\): ValueError: bad sample") as caught:
        next(results)
    assert good == list(range(100))
    assert 'raise ValueError("bad sample")' in caught.value.traceback
    assert caught.value.traceback.count("File ") == 1
    assert "hierarchy_jobs.py" in caught.value.__notes__[0]
    assert troubled.map([1, 2]) == [1, 2]


@pytest.mark.parametrize(
    "run", [Hierarchy.map, functools.partial(Hierarchy.reduce, function=max)], ids=["map", "reduce"]
)
def test_map_and_reduce_raise_by_default(troubled: Hierarchy, run: Callable[..., object]) -> None:
    with pytest.raises(SampleFailed):
        run(troubled, samples=[1, "raise", 2])
    with pytest.raises(SampleFailed):
        list(troubled.imap_unordered([1, "raise", 2]))


def test_a_sample_over_its_time_fails_alone() -> None:
    with Hierarchy(misbehave, workers=2, sample_timeout=0.5) as hierarchy:
        results = hierarchy.map([1, 2, "sleep", 3], on_error="return")
    assert results[:2] + results[3:] == [1, 2, 3]
    assert (results[2].kind, results[2].index) == ("SAMPLE_TIMEOUT", 2)


def test_a_sample_that_takes_all_memory_fails_alone() -> None:
    with Hierarchy(misbehave, workers=2, memory=400 << 20) as hierarchy:
        results = hierarchy.map([*range(50), "allocate", *range(50)], on_error="return")
        # It was that sample alone, so there are as many processes as before.
        wait_until(lambda: len(supervisor().children()[0].children()) == 2)
    failed = results.pop(50)
    assert (failed.kind, failed.index) == ("OUT_OF_MEMORY", 50)
    assert results == [*range(50), *range(50)]


@pytest.mark.thorough
def test_samples_in_flight_that_do_not_fit_together_cost_one_restart(tmp_path: Path) -> None:
    job = Hungry(110, setups=str(tmp_path / "setups"))
    with Hierarchy(job, workers=1, memory=700 << 20, in_flight=8) as hierarchy:
        results = hierarchy.map([{"x": number} for number in range(12)])
    assert [int(one["y"]) for one in results] == list(range(12))
    assert (tmp_path / "setups").read_text() == "xx"


def test_workers_that_are_killed_from_outside_cost_no_sample() -> None:
    def work(number: int) -> int:
        time.sleep(0.001)
        return number

    with Hierarchy(work, workers=2) as hierarchy:
        results = hierarchy.imap(range(2000))
        first = [next(results) for _ in range(100)]
        for _ in range(2):
            supervisor().children()[0].children()[0].children()[0].kill()  # below its guardian
            first += [next(results) for _ in range(300)]
        assert first + list(results) == list(range(2000))


def test_a_supervisor_that_is_killed_is_told() -> None:
    with Hierarchy(misbehave, workers=1) as hierarchy:
        hierarchy.map([1])
        supervisor().kill()
        with pytest.raises(RunError, match=r"ended by itself: signal 9 \(SIGKILL\)"):
            hierarchy.map(["sleep"])


def test_samples_that_raise_raise_here_and_the_hierarchy_goes_on(squares: Hierarchy) -> None:
    def source() -> Iterator[int]:
        yield from range(100)
        raise KeyError("source")

    with pytest.raises(KeyError, match="source"):
        squares.map(source())
    assert squares.map([2]) == [4]


# --- use


def test_one_pass_at_a_time(squares: Hierarchy) -> None:
    results = squares.imap(range(100_000))
    next(results)
    with pytest.raises(RunError, match="busy: exhaust or close"):
        squares.map([1])
    results.close()
    assert squares.map([1]) == [1]


def test_an_abandoned_pass_leaves_no_trace_in_the_next(squares: Hierarchy) -> None:
    for number in range(30):
        results = squares.imap(itertools.count())
        assert [next(results) for _ in range(number)] == [n * n for n in range(number)]
        del results
        assert squares.map(range(number, 200)) == [n * n for n in range(number, 200)]


def test_a_closed_hierarchy_says_so() -> None:
    hierarchy = Hierarchy(misbehave, workers=1)
    hierarchy.close()
    hierarchy.close()
    with pytest.raises(RunError, match="closed"):
        hierarchy.map([1])


def test_random_numbers_are_repeatable_with_a_seed_and_differ_without() -> None:
    def draw(number: int) -> float:
        return np.random.rand()

    def run(seed: int | None) -> list[float]:
        with Hierarchy(draw, workers=2, batch_size=5, seed=seed) as hierarchy:
            return hierarchy.map(range(20))

    seeded = run(1)
    assert len(set(seeded)) == 20
    assert run(1) == seeded
    assert run(2) != seeded
    assert run(None) != run(None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"job": 3}, "job: 3 is neither a Job nor a function"),
        ({"workers": -1}, "workers: -1 is not valid; valid: a whole number from 0 on"),
        ({"workers": 1.5}, "workers: 1.5"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"sample_timeout": 0}, "sample_timeout: 0 is not valid; valid: seconds over 0"),
        ({"devices": []}, "the list is empty"),
        ({"devices": ["gpu"]}, "devices: 'gpu' is not valid here; valid: \"auto\", or a list of cpu"),
        ({"devices": ["cuda:77"]}, "devices: 'cuda:77'"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_valid(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Hierarchy(**{"job": misbehave, **arguments})
    assert message in str(caught.value)


class Whereabouts(jobs.Job):
    def setup(self, context: jobs.Context) -> None:
        self.device = context.device

    def process(self, batch: Any) -> dict[str, Any]:
        return {"device": [self.device] * len(batch["x"])}


def test_cuda_without_a_number_is_the_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for devices in (["cuda"], "cuda"):
        with Hierarchy(Whereabouts(), devices=devices, workers=0) as hierarchy:
            assert [found["device"] for found in hierarchy.map([{"x": 1}])] == ["cuda:0"]


def test_a_bad_on_error_is_named(squares: Hierarchy) -> None:
    with pytest.raises(InputError, match='on_error: \'ignore\' is not valid; valid: "raise", "return"'):
        squares.imap([], on_error="ignore")  # type: ignore[arg-type]


def test_a_hierarchy_is_no_sample_of_another(squares: Hierarchy) -> None:
    with pytest.raises(InputError, match="cannot be sent to other processes"):
        Hierarchy(lambda number: squares)


def test_the_package_names_it() -> None:
    assert jobs.Hierarchy is Hierarchy
    assert not hasattr(jobs, "hierarchy_of")


# --- batch sizes


@given(st.floats(1e-8, 10), st.floats(1, 1e7), st.integers(1, 64), st.integers(1, 200))
def test_batches_grow_to_their_time_and_no_further(seconds: float, size: float, processes: int, batches: int) -> None:
    sizes = BatchSize(processes, None)
    for _ in range(batches):
        count = sizes.next(None)
        sizes.drawn(count, 1e-9)
        sizes.sent(count, int(count * size))
        assert count == 1 or count * seconds <= 0.011 or seconds * count <= 8 * 0.011
        sizes.done(count, count * seconds, count)
    assert 1 <= sizes.next(None) <= max(1, 0.0101 / seconds)
    assert sizes.next(0) <= sizes.next(None)


def test_a_fixed_size_is_kept() -> None:
    sizes = BatchSize(2, 10)
    sizes.done(10, 100.0, 10)
    assert sizes.next(3) == 10


def test_paths_and_other_plain_objects_travel(echo: Hierarchy) -> None:
    samples = [Path("/tmp"), 1j, {1, 2}, range(3), slice(1, 2), Exception("x").args]
    assert echo.map(samples) == samples


def test_samples_of_a_job_that_takes_them_one_by_one_come_in_order() -> None:
    class Slow(jobs.Job):
        def load(self, sample: Any) -> Any:
            return sample

        async def process_sample(self, item: int, seed: int) -> dict[str, Any]:
            await asyncio.sleep(0.001 * (item % 5))
            if item == 13:
                raise ValueError("thirteen")
            return {"double": 2 * item, "text": f"number {item}"}

    with Hierarchy(Slow, in_flight=6, workers=1) as hierarchy:
        found = hierarchy.map(range(50), on_error="return")
    assert isinstance(found[13], SampleFailed)
    assert [one["double"] for at, one in enumerate(found) if at != 13] == [2 * at for at in range(50) if at != 13]
    assert found[49]["text"] == "number 49"


def test_an_answer_of_a_job_that_takes_samples_one_by_one_comes_when_it_is_there() -> None:
    class Quick(jobs.Job):
        def setup(self, context: jobs.Context) -> None:
            from jobs.node.process import sample_messenger

            vars(sample_messenger)["TICK"] = 3600.0  # when it is time to look what is done, else twice a second

        def load(self, sample: Any) -> Any:
            return sample

        async def process_sample(self, item: int, seed: int) -> dict[str, Any]:
            return {"double": 2 * item}

    with Hierarchy(Quick, workers=1) as hierarchy:
        assert [hierarchy.map([number])[0]["double"] for number in range(40)] == [2 * number for number in range(40)]
