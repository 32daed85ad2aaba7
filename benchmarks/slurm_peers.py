"""The peers of slurm.py, used as their manuals show: ``python -m benchmarks.slurm_peers NAME TASKS FOLDER [--hold]``.

submitit waits for its results, as its users do; datatrove returns when it has submitted.
"""

import argparse
from pathlib import Path

# What each task of every contestant asks for.
CPUS, GIBIBYTES, MINUTES = 1, 1, 10


def square(number: int) -> int:
    """What each task computes; pickled as the name of this module, which takes no time to import."""
    return number**2


def square_rank(data: object, rank: int = 0, world_size: int = 1) -> list[object]:
    """The same as a step of a datatrove pipeline."""
    square(rank)
    return []


def submitit(tasks: int, folder: Path, hold: bool) -> None:
    from submitit import SlurmExecutor

    from benchmarks.slurm_peers import square

    executor = SlurmExecutor(folder)
    executor.update_parameters(
        cpus_per_task=CPUS, mem=f"{GIBIBYTES}G", time=MINUTES, array_parallelism=tasks,
        additional_parameters={"hold": True} if hold else {},
    )  # fmt: skip
    jobs = executor.map_array(square, range(tasks))
    if not hold and [job.result() for job in jobs] != [square(number) for number in range(tasks)]:
        raise RuntimeError("submitit computed something else")


def datatrove(tasks: int, folder: Path, hold: bool) -> None:
    from datatrove.executor import SlurmPipelineExecutor

    from benchmarks.slurm_peers import square_rank

    SlurmPipelineExecutor(
        [square_rank], tasks=tasks, time=f"0:{MINUTES}:00", partition="main", cpus_per_task=CPUS,
        mem_per_cpu_gb=GIBIBYTES, max_array_size=-1, logging_dir=str(folder), sbatch_args={"hold": ""} if hold else None,
    ).run()  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=("submitit", "datatrove"))
    parser.add_argument("tasks", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hold", action="store_true", help="submit only: nothing runs")
    options = parser.parse_args()
    {"submitit": submitit, "datatrove": datatrove}[options.name](options.tasks, options.folder, options.hold)


if __name__ == "__main__":
    main()
