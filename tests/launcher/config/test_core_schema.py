"""Plain values of YAML 1.2: what they are, that they are written so that they read back, and what is told of older configs."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InputError
from launcher.config.config import load_config
from launcher.config.core_schema import written
from launcher.config.yaml_lines import parse_document, parse_value

# https://yaml.org/spec/1.2.2/#1032-tag-resolution, and what version 1.1 has beyond it.
VALUES: list[tuple[str, Any]] = [
    ("null", None), ("Null", None), ("NULL", None), ("~", None), ("", None), ("nULL", "nULL"),
    ("true", True), ("True", True), ("TRUE", True), ("false", False), ("tRUE", "tRUE"),
    ("yes", "yes"), ("No", "No"), ("on", "on"), ("OFF", "OFF"), ("y", "y"), ("n", "n"),
    ("0", 0), ("12", 12), ("-12", -12), ("+12", 12), ("012", 12), ("-08", -8),
    ("0o17", 15), ("-0o17", "-0o17"), ("0o8", "0o8"), ("0x1F", 31), ("-0x1F", "-0x1F"), ("0b11", "0b11"),
    ("1_000", "1_000"), ("1:30", "1:30"), ("4:00:00", "4:00:00"), ("190:20:30.15", "190:20:30.15"),
    ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("-.5", -0.5), (".", "."), ("01.5", 1.5),
    ("1e3", 1000.0), ("1E3", 1000.0), ("1e-4", 1e-4), (".5e3", 500.0), ("1.e+2", 100.0), ("1e", "1e"), ("e3", "e3"),
    (".inf", math.inf), ("-.INF", -math.inf), ("+.Inf", math.inf), (".iNF", ".iNF"), ("inf", "inf"), ("-.nan", "-.nan"),
    ("2024-01-01", "2024-01-01"), ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"), ("=", "="), ("<<", "<<"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES, ids=[text or "nothing" for text, _ in VALUES])
def test_a_plain_value_is_what_yaml_1_2_says(text: str, value: Any) -> None:
    found = parse_document(f"a: {text}\nb: [{text or 'null'}]\n", "c.yaml").data
    assert (found["a"], type(found["a"])) == (value, type(value))
    assert found["b"] == [value]
    assert parse_document(f"a: '{text}'", "c.yaml").data == {"a": text}


def test_not_a_number_is_one() -> None:
    assert math.isnan(parse_value(".NaN"))


@given(st.text())
def test_text_is_read_as_json_writes_it(text: str) -> None:
    assert parse_value(json.dumps(text.replace("\x7f", ""))) == text.replace("\x7f", "")
    assert parse_document(json.dumps({"x": "\U0001f600", "y": ["\ud83d"]}), "c").data == {
        "x": "\U0001f600",
        "y": ["\ud83d"],
    }


def test_a_character_that_ends_a_line_in_version_1_1_alone_is_refused() -> None:
    with pytest.raises(InputError, match=r"c:2: not valid YAML: control character '\\x85'"):
        parse_document('x: 1\ny: "a\x85b"\n', "c")


def test_a_directive_of_an_older_version_changes_no_value() -> None:
    assert parse_document("%YAML 1.1\n---\na: yes\nb: 010\n", "c.yaml").data == {"a": "yes", "b": 10}


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
WORDS = st.sampled_from([text for text, _ in VALUES])


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            PLAIN | WORDS,
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
            max_leaves=8,
        ),
    )
)
def test_what_is_written_reads_back_as_the_same(data: dict[str, Any]) -> None:
    assert repr(parse_document(written(data), "c.yaml").data) == repr(data)


CONFIG = """\
name: small
job:
  class: my_jobs:Mine
  params:
    flag: yes
    codes: [007, '007', 7]
    inner: {mode: 0o17, off: on, plain: no way}
data: {manifest: table.csv}
slurm: {account: 0012}
"""


def test_params_that_an_older_version_took_for_something_else_are_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    assert load_config(path).deprecations() == [
        f"{path}:5: job.params.flag: yes is text, as YAML 1.2 has it, and was true: write that, or 'yes'",
        f"{path}:6: job.params.codes[0]: 007 is a number, as YAML 1.2 has it, and was text: write '007', or 7",
        f"{path}:7: job.params.inner.mode: 0o17 is a number, as YAML 1.2 has it, and was text: write '0o17', or 15",
        f"{path}:7: job.params.inner.off: on is text, as YAML 1.2 has it, and was true: write that, or 'on'",
    ]


def test_of_a_value_after_set_the_same_is_told_and_nothing_of_what_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    config = load_config(
        path, ["job.params.flag=No", "job.params.codes=[7]", "job.params.inner={}", "slurm.account=007"]
    )
    assert config.job.params == {"flag": "No", "codes": [7], "inner": {}}
    assert config.deprecations() == [
        "--set job.params.flag=No: No is text, as YAML 1.2 has it, and was false: write that, or 'No'"
    ]


def test_sbatch_gets_words_that_are_no_switches_any_more(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    options = load_config(path, ["slurm.partition=on", "slurm.no_kill=off", "slurm.exclusive=true"]).slurm.options
    assert options == {"account": "0012", "partition": "on", "no-kill": "off", "exclusive": True}
