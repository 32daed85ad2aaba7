"""Parameters of Jobs: their types are those of the class, and every mistake is told with its line."""

import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import pytest

from jobs.errors import InputError
from jobs.job import Job, make_job
from jobs.parameters import UNKNOWN, as_annotated
from jobs.storage.records import JobSpec
from launcher import results
from launcher.catalogue.param_types import check_params, read_parameters
from launcher.config.config import load_config
from launcher.config.yaml_lines import parse_document
from launcher.plan.plan import make_plan
from tests.example_jobs.typed_jobs import NoParameters, Open, Typed
from tests.support.launcher_runs import in_process, launcher, write_config

PATH = "tests.example_jobs.typed_jobs:Typed"


def problems(text: str, cls: type[Job] = Typed) -> dict[str, str]:
    """What is wrong with params written as YAML: the key below job.params -> the message."""
    params = {"count": 1} if cls is Typed else {}
    found = check_params(
        cls, f"tests.example_jobs.typed_jobs:{cls.__name__}", {**params, **parse_document(text, "x").data}
    )
    assert all(path[:2] == ("job", "params") for path, _ in found)
    return {".".join(map(str, path[2:])): message for path, message in found}


@pytest.mark.parametrize(
    "text",
    [
        "count: 0", "rate: 1e-3", "rate: 2", "rate: .inf", "flag: true", "text: '5'", "folder: a/b",
        "folder: null", "names: []", "names: [a, '3']", "pair: [1, 2]", "sizes: {a: 1}", "either: 3", "either: three",
        "mixed: [1, true]", "small: 9", "plain: [1, {a: b}]", "tensor: 3", "array: [1, 2]", "mode: slow",
    ],
)  # fmt: skip
def test_a_value_of_the_right_type_is_accepted(text: str) -> None:
    assert problems(text) == {}


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("count: '5'", "count", 'must be a whole number, not "5"'),
        ("count: 1.0", "count", "must be a whole number, not 1.0"),
        ("count: 1e3", "count", "must be a whole number, not 1000.0"),
        ("count: true", "count", "must be a whole number, not true"),
        ("count: null", "count", "must be a whole number, not null"),
        ("rate: '0.1'", "rate", 'must be a valid number, not "0.1"'),
        ("flag: 1", "flag", "must be true or false, not 1"),
        ("flag: 'true'", "flag", 'must be true or false, not "true"'),
        ("text: 5", "text", "must be text, not 5: write it in quotes"),
        ("folder: 5", "folder", "must be text, not 5: write it in quotes"),
        ("mode: fats", "mode", "must be 'fast' or 'slow', not \"fats\"; did you mean fast?"),
        ("names: a", "names", 'must be a valid array, not "a"'),
        ("names: [a, 3]", "names.1", "must be text, not 3: write it in quotes"),
        ("pair: [1]", "pair", "lacks 1"),
        ("pair: [1, x]", "pair.1", 'must be a valid number, not "x"'),
        ("sizes: {a: x}", "sizes.a", 'must be a whole number, not "x"'),
        ("either: [1]", "either", "must be int | str, not [1]"),
        ("mixed: [x]", "mixed.0", 'must be a whole number, not "x"; or must be true or false, not "x"'),
        ("small: 10", "small", "must be less than or equal to 9, not 10"),
        (
            "fodler: x",
            "fodler",
            "unknown parameter. Did you mean folder? Parameters of tests.example_jobs.typed_jobs:Typed: "
            "count, mode, rate, flag, text, folder, names, pair, sizes, either, mixed, small, plain, tensor, array; "
            "see `launcher jobs tests.example_jobs.typed_jobs:Typed`",
        ),
    ],
)
def test_a_value_of_another_type_says_what_is_valid(text: str, key: str, message: str) -> None:
    assert problems(text) == {key: message}


def test_a_missing_parameter_is_named_with_its_type_and_words() -> None:
    assert check_params(Typed, PATH, {}) == [
        (("job", "params", "count"), "is required (int): the number of things (a few; not many), rate may be anything")
    ]


def test_a_class_that_takes_any_parameter_gets_any() -> None:
    assert problems("{other: 1, more: [x]}", Open) == {}
    assert problems("{known: x}", Open) == {"known": 'must be a whole number, not "x"'}


def test_a_class_without_parameters_takes_none() -> None:
    message = problems("x: 1", NoParameters)["x"]
    assert message.startswith("unknown parameter. Parameters of tests.example_jobs.typed_jobs:NoParameters: none")


def test_the_words_of_a_docstring_are_found_by_clause_and_by_line() -> None:
    words = {parameter.name: parameter.words for parameter in read_parameters(Typed)}
    assert words["folder"] == "where they lie"
    assert words["mode"] == "The mode decides the rest"
    assert words["plain"] == ""
    assert read_parameters(Open)[0].words == "the one that is known, told on two lines"


def test_a_type_that_cannot_be_resolved_is_none() -> None:
    kinds = {parameter.name: parameter.kind for parameter in read_parameters(Typed)}
    assert kinds["tensor"] is UNKNOWN
    assert kinds["plain"] is UNKNOWN


def test_the_class_gets_what_its_annotations_say() -> None:
    job: Any = make_job(JobSpec(PATH, {"count": 1, "folder": "a", "names": ["x"], "pair": [3, 4.5], "plain": [1]}))
    assert (job.folder, job.names, job.pair, job.plain) == (Path("a"), ["x"], (3, 4.5), [1])


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("a", Path, Path("a")),
        ("a", Path | None, Path("a")),
        ("a", str | Path, "a"),
        (None, Path | None, None),
        (["a"], list[Path] | None, [Path("a")]),
        (["a", 1], tuple[Path, int], (Path("a"), 1)),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, 2], int | tuple[int, int], (1, 2)),
        ([1, 1], set[int], {1}),
        (["a"], list, ["a"]),
        ([1], tuple, (1,)),
        ({"x": "a"}, dict[str, Path], {"x": Path("a")}),
        ({"x": "a"}, Optional[dict[str, Path]], {"x": Path("a")}),  # noqa: UP045
        ("a", Annotated[Path, "of something"], Path("a")),
        (5, UNKNOWN, 5),
        ([["a"]], list[tuple[Path, ...]], [(Path("a"),)]),
    ],
)
def test_plain_data_becomes_what_the_annotation_says(value: object, kind: Any, expected: object) -> None:
    found = as_annotated(value, kind)
    assert found == expected
    assert type(found) is type(expected)


def test_plan_tells_every_mistake_with_file_line_and_key(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    config.write_text(
        "name: toy\njob:\n  class: tests.example_jobs.typed_jobs:Typed\n  params:\n"
        "    mode: fats\n    names: [a, 3]\n    spede: 1\n"
        "data: {manifest: data.csv}\noutput:\n  path: nowhere/x.h5\n"
    )
    done = launcher(tmp_path, "plan", config.name, "--set", "job.params.small=0")
    assert done.returncode == 2
    assert [line.removeprefix("launcher: ").split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["config.yaml:5", "job.params.mode"],
        ["config.yaml:6", "job.params.names[1]"],
        ["config.yaml:7", "job.params.spede"],
        ["config.yaml:10", "output.path"],
        ["--set job.params.small=0", "must be greater than or equal to 1, not 0"],
        ["config.yaml:4", "job.params.count"],
    ]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        (
            {"count": 13},
            "config.yaml:1: job.params: tests.example_jobs.typed_jobs:Typed: ValueError: 13 of them are too many",
        ),
        ({}, "config.yaml:1: job.params.count: is required (int)"),
    ],
)
def test_what_a_constructor_refuses_has_its_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any], shown: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, job=PATH, params=params)
    with pytest.raises(InputError) as caught:
        make_plan(load_config(Path("config.yaml")))
    assert str(caught.value).startswith(shown)


def test_a_message_of_the_class_about_a_parameter_is_placed_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = {"model": "./nowhere"}
    write_config(tmp_path, job="jobs.text_embedding:TextEmbedding", params=params)
    with pytest.raises(InputError, match=r"^config.yaml:1: job.params.model: there is no folder"):
        make_plan(load_config(Path("config.yaml")))


def test_array_tasks_get_paths_and_tuples_too(tmp_path: Path) -> None:
    config = write_config(tmp_path, 8, shards=1, job=PATH, params={"count": 1, "folder": "a", "pair": [1, 2]})
    done = launcher(tmp_path, "run", config.name)
    assert done.returncode == 0, done.stderr
    with results.open(tmp_path / "runs" / "toy") as found:
        assert found["shown"][0] == repr((Path("a"), None, (1, 2), None))


LAZY = """
from typing import TYPE_CHECKING
from jobs import Job
if TYPE_CHECKING:
    import torch
    from jobs import SetupContext

class Lazy(Job):
    def __init__(self, size: int, pair: tuple[int, int] = (1, 2), tensor: list[torch.Tensor] | None = None) -> None:
        self.size, self.pair = size, pair

    def setup(self, context: SetupContext) -> None:
        pass

    def process(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"shown": [repr((self.size, self.pair))] * len(batch["x"])}
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once")
def test_annotations_that_python_evaluates_late_may_name_what_type_checkers_alone_import(tmp_path: Path) -> None:
    (tmp_path / "lazy_job.py").write_text(LAZY)
    config = write_config(tmp_path, 8, shards=1, job="lazy_job:Lazy", params={"size": 3, "pair": [4, 5]})
    refused = in_process(tmp_path, "plan", config.name, "--set", "job.params.size=three")
    assert 'must be a whole number, not "three"' in refused.stderr
    done = launcher(tmp_path, "run", config.name)
    assert done.returncode == 0, done.stderr
    with results.open(tmp_path / "runs" / "toy") as found:
        assert found["shown"][0] == "(3, (4, 5))"
