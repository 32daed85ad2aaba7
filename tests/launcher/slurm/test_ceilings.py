"""Ceilings: the most memory and time that a retry may ask for, as sinfo tells, and what is said of that."""

import os
from pathlib import Path

import pytest

from launcher.config.settings import RetrySettings
from launcher.runs.causes import NextAttempt
from launcher.slurm.capacity import read_nodes
from launcher.slurm.ceilings import Ceilings, ceilings_for, highest
from launcher.slurm.limits import forget
from launcher.slurm.outlook import over
from tests.launcher.slurm.test_terms import asked, config_with
from tests.support.slurm_fixtures import BringUp

MIB = 1 << 20
SINFO = """\
main*|4|8|(null)|idle|64000|NO|n/a|1-00:00:00
main*|1|8|(null)|down|128000|NO|n/a|1-00:00:00
long|4|8|(null)|idle|64000|NO|n/a|infinite
short|4|8|(null)|idle|1|NO|n/a|3:00
a wrapper says something
"""


@pytest.mark.parametrize(
    ("partitions", "found"),
    [
        (None, Ceilings(128000 * MIB, 86400, "main")),
        ("long", Ceilings(64000 * MIB, None, "long")),
        ("short", Ceilings(None, 180, "short")),
        ("main,short", Ceilings(128000 * MIB, 86400, "main, short")),
        ("main,long", Ceilings(128000 * MIB, None, "main, long")),
        ("other", Ceilings()),
    ],
)
def test_the_most_is_that_of_the_partition_that_allows_most(partitions: str | None, found: Ceilings) -> None:
    assert highest(read_nodes(SINFO), partitions) == found


def test_the_cluster_that_has_the_submission_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sinfo").write_text(
        "#!/bin/bash\nrow='main*|4|8|(null)|idle'\n"
        'case $1 in --clusters=far) echo "$row|64000|NO|n/a|2:00";; *) echo "$row|9|NO|n/a|1:00";; esac\n'
    )
    (tmp_path / "sinfo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    forget()
    try:
        assert ceilings_for({}, "far") == Ceilings(64000 * MIB, 120, "main")
        assert ceilings_for({}).time == 60
    finally:
        forget()


def test_what_a_partition_never_gives_is_told_when_it_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "main*|4|8|(null)|idle|6000|NO|n/a|3:00\nlong|4|8|(null)|idle|64000|NO|n/a|infinite\n"
    monkeypatch.setattr("launcher.slurm.ceilings.nodes_at", lambda cluster: read_nodes(rows))
    assert over({"time": "10", "mem": "7000M"}) == [
        "an array task may never start: it asks for --time=0:10:00, and partition main gives 0:03:00",
        "an array task may never start: it asks for --mem=7000M, and the largest node of main has 5.9G",
    ]
    assert over({"time": "10", "mem": "7000M", "partition": "main,long"}) == []
    assert over({}) == []


@pytest.mark.slurm
@pytest.mark.xdist_group("sites")
def test_a_retry_asks_for_no_more_than_a_partition_gives_and_says_so(site: BringUp, tmp_path: Path) -> None:
    site("short-limit")
    terms = asked(config_with(tmp_path, mem="5G", time="2:30"))
    everything = {NextAttempt.MORE_MEMORY, NextAttempt.MORE_TIME}
    assert terms.limited(RetrySettings(), {NextAttempt.THE_SAME}) == RetrySettings()
    limited = terms.limited(RetrySettings(max_memory=7000 * MIB), everything)
    assert (limited.max_memory, limited.max_time) == (6000 * MIB, 180)
    memory, time = terms.notes
    assert memory == "another attempt would ask for --mem=7000M: the nodes of partition main allow 6000M at most"
    assert time == "another attempt would ask for --time=0:03:45: partition main allows 0:03:00 at most"
    per_cpu = asked(config_with(tmp_path / "other", mem_per_cpu="2G", cpus_per_task=4))
    assert per_cpu.limited(RetrySettings(), everything).max_memory == 1500 * MIB


def test_a_config_that_lets_nothing_grow_has_nothing_to_say(tmp_path: Path) -> None:
    terms = asked(config_with(tmp_path, time="10"))
    assert terms.limited(RetrySettings(), set()) == RetrySettings()
    assert terms.notes == ()
