"""One bit of any file of a run is another: nothing is wrong for it, or it is repaired as advised, or refused with the file.

CHAOS_FLIPS=3000 in the environment is the long version, of some minutes.
"""

import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.chaos import amount
from tests.support.instant_executor import command, go_on, instant_executor
from tests.support.launcher_runs import datasets, run_of, write_config

FLIPS = amount("FLIPS", 20, 60)


@pytest.fixture
def instant() -> Iterator[None]:
    with instant_executor():
        yield


def flips(files: list[Path], dice: random.Random) -> Iterator[tuple[Path, int]]:
    """(file, bit): in as many regions of each file as it has a share of FLIPS; at least three of each."""
    for file in files:
        bits, share = 8 * file.stat().st_size, max(3, FLIPS // len(files))
        for region in range(min(share, bits)):
            first, stop = bits * region // share, bits * (region + 1) // share
            yield file, dice.randrange(first, max(stop, first + 1))


def test_a_flipped_bit_is_harmless_or_repaired_or_refused_with_the_file(tmp_path: Path, instant: None) -> None:
    config = write_config(tmp_path, 60, job="Everything", shards=3)
    run, kept = run_of(config), tmp_path / "kept"
    assert go_on(config)[0] == 0
    expected = {name: data.tobytes() for name, data in datasets(run.result).items()}
    run.path.rename(kept)
    files = [path.relative_to(kept) for path in sorted(kept.rglob("*")) if path.is_file() and path.stat().st_size]
    ends: dict[str, Counter[str]] = {str(file): Counter() for file in files}
    for file, bit in flips([kept / file for file in files], random.Random(6)):
        name = file.relative_to(kept)
        shutil.rmtree(run.path, ignore_errors=True)
        shutil.copytree(kept, run.path)
        flip(run.path / name, bit)
        end = mended(config, expected, f"bit {bit} of {name}")
        ends[str(name)][end] += 1
    print("\n".join(f"{name}: {dict(found)}" for name, found in ends.items()))


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def mended(config: Path, expected: dict[str, bytes], what: str) -> str:
    """How the run with the damage ended, after verify and what verify advises."""
    run = run_of(config)
    code, said = command("verify", run.path)
    end = "harmless" if code == 0 else "repaired"
    if code and (advised := re.search(r"rerun \S+ --shards (\S+)", said)):
        command("rerun", run.path, "--shards", advised[1], "--set", "executor=instant")
    if code:
        told = said
        code, said = go_on(config)
        if code == 0:
            code, said = command("gather", run.path)
        if code:
            assert str(run.path) in told, f"{what}: {told}"
            return "refused"
    assert same(run.result, expected), f"{what}: the result is another and {end}; {said}"
    # What nobody has noticed may spoil what is made of it next.
    code, said = command("gather", run.path)
    assert code == 0 or str(run.path) in said, f"{what}: {said}"
    assert code or same(run.result, expected), f"{what}: the next result is another; {said}"
    return end


def same(path: Path, expected: dict[str, bytes]) -> bool:
    found = datasets(path)
    return found.keys() == expected.keys() and all(np.asarray(found[n]).tobytes() == expected[n] for n in expected)
