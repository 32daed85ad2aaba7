"""Prints the docstrings whose embeddings are nearest to that of a query.

python -m demo.neighbours runs/stdlib-docstrings "parse a JSON document"
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from jobs.errors import InputError, LauncherError
from jobs.job import Context
from jobs.machine.imports import many_imports
from jobs.storage.plans import Plan
from jobs.storage.samples import Samples
from jobs.text_embedding import TextEmbedding
from launcher import results
from launcher.runs.find import find_run

NEIGHBOURS = 5


def embed(plan: Plan, text: str) -> np.ndarray:
    """The vector of a text, float32 [d], by the Job of the run, called directly."""
    job = TextEmbedding(**plan.job.params)
    context = Context(device="cpu", process_index=0, worker_index=None, scratch=Path(), seed=plan.seed)
    job.setup_worker(context)
    job.setup(context)
    outputs = job.process(job.collate([job.load({"text": text})]))
    return np.asarray(outputs["embedding"][0])


def nearest(vectors: np.ndarray, query: np.ndarray, count: int) -> list[tuple[int, float]]:
    """Rows and cosines of the ``count`` nearest of vectors [n, d] of length 1; NaN rows (failed samples) come last."""
    cosines = vectors @ query
    return [(int(row), float(cosines[row])) for row in np.argsort(-cosines, kind="stable")[:count]]


def show(path: str, query: str) -> None:
    """Prints the result's shape and the neighbours, each with the first line of its text."""
    run = find_run(path)
    with results.open(path) as found:
        ids, vectors = found.ids, found["embedding"]
    print(f"{run.path}: {len(ids)} embeddings of {vectors.shape[1]} numbers; nearest to {query!r}:")
    plan = Plan.read(run.plan)
    samples = Samples(plan.manifest_file(run))
    for row, cosine in nearest(vectors, embed(plan, query), NEIGHBOURS):
        first_line = next(samples.rows(row, row + 1))["text"].partition("\n")[0]
        print(f"  {cosine:.3f}  {ids[row]}: {first_line}")


def main() -> int:
    """The command line; the exit status is that of the launcher's commands."""
    parser = argparse.ArgumentParser(prog="python -m demo.neighbours", description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="a run directory or name")
    parser.add_argument("query", help="any text")
    arguments = parser.parse_args()
    try:
        with many_imports():  # transformers' take most of the time
            show(arguments.run, arguments.query)
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
