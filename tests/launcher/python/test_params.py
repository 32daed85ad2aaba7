"""What a Job was made with comes to array tasks as it was given, in value and type; or it is refused."""

import copy
import enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import InputError
from jobs.job import Job, make_job
from jobs.storage.records import JobSpec
from launcher.python.job_source import params_of


class Mode(enum.Enum):
    FAST = "fast"


class Changing(Job):
    def __init__(self, options: dict[str, Any]) -> None:
        self.size = options.pop("size", 8)
        options["more"] = [1]


class Emptying(Job):
    def __init__(self, options: dict, sizes=()) -> None:  # type: ignore[no-untyped-def,type-arg]
        self.mode = options.pop("mode")
        self.most = sizes.pop()


class Free(Job):
    def __init__(self, value=None) -> None:  # type: ignore[no-untyped-def]
        self.value = value


class Summing(Job):
    def __init__(self, values: list[Any]) -> None:
        self.total = len(values)


class Typed(Job):
    def __init__(
        self,
        mode: Mode | None = None,
        shape: tuple[int, ...] = (),
        folder: Path | None = None,
        names: set[str] | None = None,
    ) -> None:
        pass


def test_a_constructor_that_changes_what_it_gets_changes_no_parameter() -> None:
    options = {"size": 16, "more": [2]}
    made = Changing(options)
    options["more"] = []
    assert params_of(made) == {"options": {"size": 16, "more": [2]}}


def test_a_constructor_that_empties_what_it_gets_empties_no_plan() -> None:
    params: dict[str, Any] = {"options": {"mode": "fast"}, "sizes": [1, 2]}
    spec = JobSpec(f"{__name__}:Emptying", copy.deepcopy(params))
    make_job(spec)
    assert spec.params == params
    assert params_of(Emptying(**copy.deepcopy(params))) == params


def test_a_list_that_is_changed_after_is_what_it_was() -> None:
    values: list[Any] = [[1], 2]
    made, keeping = Summing(values), Free(values)
    values[0].append(3)
    assert params_of(made) == {"values": [[1], 2]}
    with pytest.raises(InputError, match=r"job\.value: is \[\[1, 3\], 2\], and was not"):
        params_of(keeping)


def test_a_list_in_itself_is_made_all_the_same() -> None:
    values: list[Any] = []
    values.append(values)
    assert Free(values).value is values


@pytest.mark.parametrize(
    "value", [(3, 4), [(3, 4)], Path("x"), Mode.FAST, {"a": {1}}, np.float32(0.5), {"m": Mode.FAST}]
)
def test_what_would_become_another_type_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"job: Free\(value=\.\.\.\): array tasks would get .* for "):
        params_of(Free(value))


def test_an_enum_is_refused_though_it_is_annotated() -> None:
    with pytest.raises(InputError, match=r"array tasks would get 'fast' for <Mode\.FAST"):
        params_of(Typed(mode=Mode.FAST))


def test_annotated_values_and_plain_ones_come_back() -> None:
    assert params_of(Typed(None, (3, 4), Path("x"), {"b", "a"})) == {
        "mode": None,
        "shape": [3, 4],
        "folder": "x",
        "names": ["a", "b"],
    }
    value = {"a": [1, 2.5, True, None, "x", {"b": float("nan")}]}
    assert list(params_of(Free(value))["value"]) == ["a"]


def test_what_a_job_was_given_after_it_was_made_is_refused() -> None:
    """Array tasks make it anew, of its arguments."""
    made = Free(3)
    made.value = 4
    with pytest.raises(InputError, match=r"job\.value: is 4, and was not when the Free was made"):
        params_of(made)
    made = Free(3)
    made.more = [1]  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"job\.more: is \[1\]"):
        params_of(made)
    made = Free(3)
    made.model = object()  # type: ignore[attr-defined]  # as setup() may have made it, which does so in a task, too
    assert params_of(made) == {"value": 3}
