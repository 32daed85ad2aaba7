"""Hierarchy: device processes and their pool workers as a library: a Job or function over any iterable of samples.

For people's scripts and notebooks. The children are those of an array task (jobs/node), with the same handling of
failures; what they read and write goes through memory shared with the caller (jobs/library).
"""

import contextlib
import functools
import multiprocessing
import secrets
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, NoReturn, Self

import jobs.library
from jobs.errors import InputError, SampleFailed, described
from jobs.job import Job, takes_samples
from jobs.job_check import check_work
from jobs.library.batch_size import BatchSize
from jobs.library.caller_messages import Setup
from jobs.library.exchange import LARGEST_BATCH
from jobs.library.link import Link
from jobs.library.stream import Stream
from jobs.machine import devices as node_devices
from jobs.machine import memory as node_memory
from jobs.parameters import without_note
from jobs.pickles import Packed, modules_named, pack_by_value, where_it_fails
from jobs.storage.submission import NodeSettings

__all__ = ["Hierarchy", "OnError"]

OnError = Literal["raise", "return"]
_JOB_BATCH = 64
# Of samples that are processed one by one: a batch has its results when its longest one is done.
_SAMPLES_BATCH = 8
_MISSING = object()


class Hierarchy:
    """Processes that stay until the ``with`` block ends, and run ``job`` on samples.

    ``job`` is a function of one sample, or a Job (an object, or a class without required parameters). A function is
    called in ``workers`` processes for each device (default: one for every CPU). A Job has one process for each device,
    for ``setup`` and ``process``, and ``workers`` pool workers for each of these (default 2; 0: none) for ``load`` and
    ``collate``; ``load`` gets the samples as they are. The result of a sample is what the function returns, or the
    sample's row of the outputs of ``process``: {name: row}.

    ``devices`` is a list such as ["cuda:0", "cuda:1", "cpu"], or "auto": the GPUs that are free for this process, else
    ["cpu"]. ``batch_size`` is the number of samples of a batch (Job: 64; function: what takes some milliseconds).
    ``sample_timeout`` is in seconds, None for no limit. ``memory`` is what all processes together may take, bytes, None
    for what this machine or its cgroup has. ``seed`` seeds the generators of Python, numpy and torch before each batch,
    together with its first sample's number; None: another one each time. ``in_flight`` is how many samples of each process are
    under way at a time, of a Job with ``process_sample``.

    Raises InputError where an argument is not valid or the job cannot be sent to other processes.
    """

    def __init__(
        self,
        job: Callable[[Any], Any] | Job | type[Job],
        *,
        devices: str | Sequence[str] = "auto",
        workers: int | None = None,
        batch_size: int | None = None,
        sample_timeout: float | None = None,
        memory: int | None = None,
        seed: int | None = None,
        in_flight: int = NodeSettings.in_flight,
    ) -> None:
        _check_place()
        is_job = isinstance(job, Job) or (isinstance(job, type) and issubclass(job, Job))
        if not is_job and not callable(job):
            raise InputError(f"job: {job!r} is neither a Job nor a function of one sample")
        _check_numbers(workers, batch_size, sample_timeout, memory, in_flight)
        by_sample = False
        if is_job:
            cls = job if isinstance(job, type) else type(job)
            check_work(cls)
            by_sample = takes_samples(cls)
        self._batch_size = (batch_size or (_SAMPLES_BATCH if by_sample else _JOB_BATCH)) if is_job else batch_size
        assigned, workers = _places(is_job, devices, workers)
        packed = _pack_job(job)
        named = modules_named(packed.data)
        # Of samples one by one: batches that keep the processes busy though each of them may wait for its longest sample.
        waiting = 2 * len(assigned) * -(-2 * in_flight // (self._batch_size or 1)) if by_sample else 0
        setup = Setup(
            slots=max(8, 2 * len(assigned) * (2 * workers + 2), waiting),
            modules=(*getattr(job, "preload", ()), *named) if is_job else tuple(named),
            devices=assigned,
            workers=workers,
            threads=node_devices.compute_threads(assigned, workers, node_devices.usable_cpus()),
            sample_timeout=float("inf") if sample_timeout is None else sample_timeout,
            memory=memory or node_memory.task_limit(),
            seed=secrets.randbits(32) if seed is None else seed,
            in_flight=in_flight,
        )
        self._link = Link(setup, packed)
        self._finalizer = weakref.finalize(self, self._link.end)

    # --- passes

    def map(self, samples: Iterable[Any], *, on_error: OnError = "raise") -> list[Any]:
        """The results of all samples, in their order.

        A sample that fails raises SampleFailed; with ``on_error="return"`` the SampleFailed is in the place of its
        result. Raises RunError where nothing can go on, as after a failing ``setup``.
        """
        return [result for batch in self._batches(samples, on_error, ordered=True) for result in batch]

    def imap(self, samples: Iterable[Any], *, on_error: OnError = "raise") -> Generator[Any, None, None]:
        """The results one after another, in the order of the samples, which may be without end.

        Samples are drawn, in the caller's thread, when results are asked for, and a bounded number ahead.
        """
        return _flat(self._batches(samples, on_error, ordered=True))

    def imap_unordered(self, samples: Iterable[Any], *, on_error: OnError = "raise") -> Generator[Any, None, None]:
        """The same, as they are done."""
        return _flat(self._batches(samples, on_error, ordered=False))

    def reduce(self, function: Callable[[Any, Any], Any], samples: Iterable[Any], initial: Any = _MISSING) -> Any:
        """``functools.reduce(function, results, initial)`` over the results in the order of the samples.

        ``function`` is called here, so it need not be associative. Raises TypeError where there are no samples and no
        ``initial``.
        """
        results = self.imap(samples)
        return functools.reduce(function, results, *([] if initial is _MISSING else [initial]))

    def _batches(self, samples: Iterable[Any], on_error: OnError, ordered: bool) -> Iterator[list[Any]]:
        """Checks at once, draws samples when the first result is asked for."""
        if on_error not in ("raise", "return"):
            raise InputError(f'on_error: {on_error!r} is not valid; valid: "raise", "return"')
        self._link.check()
        size = BatchSize(self._link.processes, self._batch_size)
        return self._iterate(Stream(self._link, samples, size, ordered), on_error)

    def _iterate(self, stream: Stream, on_error: OnError) -> Iterator[list[Any]]:
        with contextlib.closing(iter(stream)) as batches:
            for results, failures in batches:
                if failures and on_error == "raise":
                    place = next(place for place, result in enumerate(results) if isinstance(result, SampleFailed))
                    yield results[:place]
                    raise results[place]
                yield results

    # --- the end

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Hierarchy cannot be sent to other processes")

    def close(self) -> None:
        """Ends all processes, and returns when they are gone. What is under way is given up; may be called again."""
        self._finalizer()

    def __enter__(self) -> Self:
        self._link.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _flat(batches: Iterator[list[Any]]) -> Generator[Any, None, None]:
    for batch in batches:
        yield from batch


def _check_place() -> None:
    """Raises InputError where making a Hierarchy would make another one, and that another, without end."""
    advice = "make it in a function that only the script itself calls, or below `if __name__ == '__main__':`"
    if jobs.library.inside:
        raise InputError(
            f"a Hierarchy is made inside another one's function or Job, or by a module they import; {advice}"
        )
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise InputError(
            f"a Hierarchy is made while multiprocessing imports the script again in a new process; {advice}"
        )


def _check_numbers(
    workers: int | None, batch_size: int | None, sample_timeout: float | None, memory: int | None, in_flight: int
) -> None:
    _check_number("batch_size", batch_size, 1, LARGEST_BATCH)
    _check_number("workers", workers, 0)
    _check_number("memory", memory, 1)
    _check_number("in_flight", in_flight, 1)
    if sample_timeout is not None and not sample_timeout > 0:
        raise InputError(f"sample_timeout: {sample_timeout!r} is not valid; valid: seconds over 0, or None")


def _check_number(name: str, value: object, least: int, most: int = 1 << 62) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most):
        limit = "on" if most == 1 << 62 else f"to {most}"
        raise InputError(f"{name}: {value!r} is not valid; valid: a whole number from {least} {limit}, or None")


def _places(is_job: bool, devices: str | Sequence[str], workers: int | None) -> tuple[tuple[str, ...], int]:
    """The device of each process, and the pool workers of each."""
    if not is_job:
        named = ("cpu",) if devices == "auto" else _devices(devices)
        each = node_devices.usable_cpus() if workers is None else max(1, workers)
        return named * each, 0
    return _devices(devices), 2 if workers is None else workers


def _devices(devices: str | Sequence[str]) -> tuple[str, ...]:
    visible = node_devices.visible_gpus()
    if devices in ("auto", "cpu") or (devices == "cuda" and visible):
        settings = NodeSettings(devices=str(devices))
    else:
        names = (devices,) if isinstance(devices, str) else tuple(devices)
        valid = {"cpu", *(["cuda"] if visible else []), *(f"cuda:{number}" for number in range(visible))}
        for name in names:
            if name not in valid:
                raise InputError(
                    f'devices: {name!r} is not valid here; valid: "auto", or a list of {", ".join(sorted(valid))}'
                )
        if not names:
            raise InputError('devices: the list is empty; valid: "auto", or a list such as ["cpu", "cuda:0"]')
        settings = NodeSettings(devices=names)
    return node_devices.process_devices(settings, node_devices.usable_gpus(settings))


def _pack_job(job: object) -> Packed:
    try:
        with without_note(job):
            return pack_by_value(job)
    except Exception as error:  # whatever the classes of what it holds raise
        where = where_it_fails(job)
        what = f"{where} cannot" if where else "it cannot"
        raise InputError(
            f"job: {what} be sent to other processes: {described(error)}; "
            "make it inside the function, or in Job.setup or Job.setup_worker"
        ) from None
