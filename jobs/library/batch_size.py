"""BatchSize: how many samples go into the next batch: enough that handing it out costs little, in time and in memory.

That of functions: a Job has a batch size of its own.
"""

# Seconds that a batch should take its worker: what it costs beside is about 0.3 ms.
_TARGET, _SHORTEST = 0.01, 0.001
# Bytes of a batch, of samples and of results.
_BYTES = 1 << 22
_MOST = 1 << 14
# One measurement may be far off, so a batch is at most this many times the one that was measured.
_GROWTH = 8
_SMOOTHING = 0.5
# A batch does not wait longer than this for a slow source of samples.
SOURCE_SECONDS = 0.02


class BatchSize:
    """Starts with one sample, and follows what is measured. ``fixed`` is returned always."""

    def __init__(self, processes: int, fixed: int | None) -> None:
        self._processes = processes
        self._fixed = fixed
        self._seconds: float | None = None
        self._sample_bytes = self._result_bytes = 1.0
        self._largest = 1
        self._drawable = 1

    @property
    def flexible(self) -> bool:
        return self._fixed is None

    def next(self, left: int | None) -> int:
        """Samples of the next batch; ``left`` are still to come, where that is known."""
        if self._fixed is not None:
            return self._fixed
        size = min(self._largest, self._drawable)
        if self._seconds is not None:
            size = min(size, int(_TARGET / self._seconds))
            if left is not None:  # the last batches are smaller, so that all workers end at about the same time
                size = min(size, max(left // (4 * self._processes), int(_SHORTEST / self._seconds)))
        return max(1, min(size, int(_BYTES / max(self._sample_bytes, self._result_bytes)), _MOST))

    def sent(self, count: int, size: int) -> None:
        """A batch of ``count`` samples was of ``size`` bytes."""
        self._sample_bytes = max(1.0, size / count)

    def done(self, count: int, seconds: float, size: int) -> None:
        """A batch of ``count`` samples took ``seconds``; its results are of ``size`` bytes."""
        self._result_bytes = max(1.0, size / count)
        each = max(seconds / count, 1e-9)
        self._seconds = each if self._seconds is None else self._seconds + _SMOOTHING * (each - self._seconds)
        self._largest = max(self._largest, _GROWTH * count)

    def drawn(self, count: int, seconds: float) -> None:
        """To draw ``count`` samples took ``seconds``."""
        self._drawable = max(1, int(count / max(seconds, 1e-9) * SOURCE_SECONDS))
