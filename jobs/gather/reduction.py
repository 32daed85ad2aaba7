"""Reduction: folding a Job's results at gather, block by block in manifest order.

A block is one batch of the plan, so that the outcome does not depend on which machine ran what, nor on timing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from jobs.errors import OutputError, RunError, described
from jobs.gather.result_file import OK, ResultFile
from jobs.job import Job
from jobs.storage.arrays import to_array
from jobs.storage.ragged_rows import row_values
from jobs.storage.records import Output, Part
from jobs.storage.shard_table import ShardTable
from jobs.storage.spans import Spans


def summarize(job: Job, coming: Iterable[dict[str, Any]]) -> dict[str, np.ndarray]:
    """``Job.reduce`` over all blocks of a result, then ``Job.finish``: name -> array, of objects where it holds str.

    It is empty where no sample is ok. Without ``finish``, the state itself is that dict. Raises RunError where the
    Job raises, OutputError where a value cannot be stored.
    """
    state, any_block = None, False
    for block in coming:
        state, any_block = _call(job, job.reduce, state, block), True
    if not any_block:
        return {}
    summary = state if type(job).finish is Job.finish else _call(job, job.finish, state)
    if not isinstance(summary, Mapping):
        found = type(summary).__name__
        raise OutputError(f"{_class_name(job)}.finish returned {found}; valid: a dict of name -> array")
    return {name: _storable(name, value) for name, value in summary.items()}


def _call(job: Job, method: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return method(*arguments)
    except (Exception, SystemExit) as error:
        # The user's code. What was stored is safe: to gather again is all that it costs.
        where, traceback = "", error.__traceback__
        while traceback:
            where = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}: "
            traceback = traceback.tb_next
        problem = f"{_class_name(job)}.{method.__name__} raised {described(error)}"
        raise RunError(f"{where}{problem}; nothing is lost, gather again") from error


def blocks(
    table: ShardTable, part: Part, result: ResultFile, outputs: tuple[Output, ...], before: int = 0
) -> Iterator[dict[str, Any]]:
    """For each batch with ok samples: output name -> their values, and "index" -> their rows in the result (int64).

    ``result`` is the file that has this part, and ``before`` how many rows are in the files before it.
    Values of a fixed output are an array [n, *shape]; of a ragged one a list of n arrays, or of str or bytes.
    """
    for first, end in table.batches(Spans([(part.start, part.stop)])):
        start, stop = first - part.start, end - part.start
        ok = result.read("status", start, stop) == OK
        if ok.any():
            block: dict[str, Any] = {"index": np.flatnonzero(ok) + start + before}
            yield block | {output.name: _values(result, output, start, stop, ok) for output in outputs}


def _values(result: ResultFile, output: Output, start: int, stop: int, ok: np.ndarray) -> Any:
    if not output.ragged:
        rows = result.read(output.name, start, stop)
        return rows if ok.all() else rows[ok]
    offsets = result.read(f"{output.name}/offsets", start, stop + 1)
    items = result.read(f"{output.name}/values", offsets[0], offsets[-1])
    begins, ends = ((offsets[at][ok] - offsets[0]).tolist() for at in (np.s_[:-1], np.s_[1:]))
    return row_values(items, zip(begins, ends, strict=True), output.encoding)


def _storable(name: object, value: Any) -> np.ndarray:
    """A value of the summary, of objects where it holds str; raises OutputError where HDF5 cannot store it by its name."""
    if not isinstance(name, str) or not name or "/" in name or name in {".", ".."} or not _is_text(name):
        raise OutputError(f"summary name {name!r} is not valid; valid: text without /")
    texts = [value] if isinstance(value, str) else value
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        texts = list(value.flat)
    if not (isinstance(texts, list | tuple) and texts and all(isinstance(text, str) for text in texts)):
        return to_array(f"summary/{name}", value)
    for text in texts:
        if not _is_text(text):
            raise OutputError(f"summary/{name}: {text!r} holds characters that HDF5 cannot store as text")
    return np.array(value, object)


def _is_text(text: str) -> bool:
    """Whether HDF5 can store it: no zeros, and no halves of characters."""
    return "\0" not in text and text.encode(errors="ignore").decode() == text


def _class_name(job: Job) -> str:
    return type(job).__name__
