"""Terms in sbatch's options: read from what was asked for, and asked for in the same way again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.storage.spans import Spans
from jobs.storage.submission import NodeSettings, Resources, Submission
from launcher.config.config import Config, load_config
from launcher.retry.policy import Terms
from launcher.slurm.scripts import asked_options
from launcher.slurm.terms import SbatchTerms
from launcher.units import parse_memory, parse_time
from tests.support.launcher_runs import write_config

GIB = 1 << 30


def config_with(folder: Any, **slurm: Any) -> Config:
    return load_config(write_config(folder, executor="slurm", slurm=slurm))


def asked(config: Config, **resources: Any) -> SbatchTerms:
    made = Submission(1, "slurm", 0.0, 1, Spans([(0, 1)]), ((0, 1),), NodeSettings(), Resources(**resources))
    return SbatchTerms(config, made)


def after(config: Config, found: SbatchTerms, terms: Terms) -> dict[str, str | None]:
    """The options of a submission with other terms."""
    return asked_options(config, Resources(options=found.options(terms)))


def test_the_terms_are_those_that_were_asked_for(tmp_path: Path) -> None:
    config = config_with(tmp_path, mem="4G", time="1:00:00", exclude=["n1", "n[3,5-7]"])
    assert asked(config, attempt=2).terms == Terms(2, 4 * GIB, 3600, ("n1", "n[3,5-7]"))


def test_what_an_attempt_got_more_of_comes_before_the_config(tmp_path: Path) -> None:
    config = config_with(tmp_path, mem="4G", time="1:00:00")
    assert asked(config, options={"mem": "6G", "exclude": "n2"}).terms == Terms(1, 6 * GIB, 3600, ("n2",))


@pytest.mark.parametrize("text", ["UNLIMITED", "INFINITE"])
def test_a_template_that_asks_for_no_limit_has_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "site.sbatch").write_text(f"#!/bin/bash\n#SBATCH --time={text}\n")
    assert asked(config_with(tmp_path, template="./site.sbatch")).terms == Terms()


def test_terms_that_stay_change_no_option(tmp_path: Path) -> None:
    config = config_with(tmp_path, mem="4G", exclude="n1")
    assert asked(config).options(asked(config).terms) == {}
    found = asked(config, options={"mem": "6G"})
    assert found.options(replace(found.terms, attempt=3)) == {"mem": "6G"}


def test_the_warning_is_that_of_the_time_limit_that_is_asked_for(tmp_path: Path) -> None:
    found = asked(config_with(tmp_path, time="1"), warning=15)
    longer = found.resources(Resources(warning=15, attempts=3), Terms(2, time=120))
    assert (longer.warning, longer.attempts, longer.options) == (30, 3, {"time": "0:02:00"})


@pytest.mark.parametrize("name", ["mem", "mem-per-cpu", "mem-per-gpu"])
def test_memory_grows_in_the_way_it_was_asked_for(tmp_path: Path, name: str) -> None:
    config = config_with(tmp_path, **{name.replace("-", "_"): "2G"}, time="60")
    found = asked(config)
    options = after(config, found, replace(found.terms, memory=4 * GIB))
    assert parse_memory(str(options.pop(name))) == 4 * GIB
    assert not any(other.startswith("mem") for other in options)
    assert parse_time(str(options["time"])) == 3600


def test_memory_that_nobody_asked_for_is_asked_for_in_all(tmp_path: Path) -> None:
    assert asked(config_with(tmp_path)).options(Terms(memory=4 * GIB)) == {"mem": "4G"}


def test_time_and_nodes_are_written_as_sbatch_reads_them(tmp_path: Path) -> None:
    config = config_with(tmp_path, mem="4G", time="1:00:00", exclude="n[7,9],n2")
    found = asked(config, options={"mem": "6G"})
    options = found.options(replace(found.terms, time=2 * 86_400, excluded_nodes=("n[7,9]", "n2", "n3")))
    assert options == {"mem": "6G", "time": "2-00:00:00", "exclude": "n[7,9],n2,n3"}
