"""Variables in the paths of a config: put in, or refused by name, and nowhere else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.errors import InputError
from launcher.config.config import Config, load_config
from launcher.config.variables import expand
from launcher.plan.plan import make_plan
from tests.support.launcher_runs import write_config


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NOWHERE", raising=False)


def loaded(folder: Path, *overrides: str, **sections: Any) -> Config:
    return load_config(write_config(folder, **sections), overrides)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("$SCRATCH/runs", "{}/runs"), ("${SCRATCH}runs", "{}runs"), ("~/runs", "/home/me/runs"), ("a~b", "a~b"), ("~", "/home/me"),
     ("a$$b", "a$b"), ("$$SCRATCH", "$SCRATCH"), ("x/$SCRATCH", "x/{}")],
)  # fmt: skip
def test_paths_are_as_a_shell_would_have_them(tmp_path: Path, written: str, meant: str) -> None:
    assert expand(written) == meant.format(tmp_path / "scratch")


@pytest.mark.parametrize(
    ("written", "message"),
    [("$NOWHERE/x", "NOWHERE"), ("${NOWHERE}", "NOWHERE"), ("$EMPTY/x", "EMPTY"), ("a$", "without a name"),
     ("${a b}", "without a name"), ("~nobody-of-that-name/x", "no such user")],
)  # fmt: skip
def test_what_cannot_be_put_in_is_refused_by_name(written: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expand(written)


@given(st.text(st.characters(exclude_characters="$~")))
def test_other_text_stays_as_it_is(text: str) -> None:
    assert expand(text) == text
    assert expand(text.replace("a", "$$")) == text.replace("a", "$")


def test_all_paths_of_a_config_know_variables_and_other_values_none(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        runs="$SCRATCH/runs",
        data={"manifest": {"a": "$SCRATCH/a.csv", "b": ["~/b.csv", "c.csv"]}},
        output={"path": "${SCRATCH}/{manifest}.h5"},
        params={"pattern": "^$HOME$"},
    )
    scratch = tmp_path / "scratch"
    assert config.run_folder == scratch / "runs/toy"
    assert config.data.manifests == {"a": (f"{scratch}/a.csv",), "b": ("/home/me/b.csv", "c.csv")}
    assert config.output_path == scratch / "{manifest}.h5"
    assert config.job.params == {"pattern": "^$HOME$"}


def test_the_place_of_a_variable_that_is_not_set_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"config\.yaml:1: runs: the variable NOWHERE of '\$NOWHERE/runs' is not set here"
    ):
        loaded(tmp_path, runs="$NOWHERE/runs")
    with pytest.raises(InputError, match=r"^--set runs=\$NOWHERE: the variable NOWHERE"):
        loaded(tmp_path, "runs=$NOWHERE")


def test_a_run_keeps_the_paths_that_it_was_planned_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "$x.csv").write_text("x\n1\n")
    config = write_config(tmp_path, runs="$SCRATCH/runs", data={"manifest": "$SCRATCH/$$x.csv"})
    run = make_plan(load_config(config)).run
    monkeypatch.delenv("SCRATCH")
    frozen = load_config(run.config)
    assert frozen.run_folder == run.path
    assert not make_plan(frozen).is_new
