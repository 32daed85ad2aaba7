"""Generators: repeatable from the first draw on, also where numpy's is imported only by that draw."""

import subprocess
import sys

import numpy as np
import pytest

from jobs.node.generators import sample_seed, seed_generators

LATE = """
import sys
import numpy as np
from jobs.node.generators import seed_generators
for row in range(3):
    seed_generators(7, row)
assert "numpy.random" not in sys.modules
print(np.random.rand(), end=" ")
seed_generators(7, 3)
print(np.random.rand())
"""


def draws(seed: int, row: int) -> float:
    seed_generators(seed, row)
    return float(np.random.rand())


def test_the_first_draw_is_seeded_although_it_imports_the_generator() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True)
    assert [float(word) for word in done.stdout.split()] == [draws(7, 2), draws(7, 3)]


@pytest.mark.parametrize("other", [(7, 3), (8, 2)])
def test_draws_depend_on_seed_and_row_and_on_nothing_else(other: tuple[int, ...]) -> None:
    assert draws(7, 2) == draws(7, 2)
    assert draws(7, 2) != draws(*other)


def test_generators_that_a_job_makes_itself_are_left_alone() -> None:
    seed_generators(7, 2)
    assert np.random.default_rng(5).random() == np.random.default_rng(5).random()


def test_the_seed_of_a_row_stays_what_it_was_in_all_runs_so_far() -> None:
    rows = [(0, 0), (0, 1), (0, 10**9), (7, 3), (2**63, 5)]
    assert [sample_seed(*one) for one in rows] == [1040509092, 1223773082, 1791096203, 1463955533, 653414197]
