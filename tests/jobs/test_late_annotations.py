"""Annotations that name what is not there: from Python 3.14 on nothing evaluates them until somebody asks."""

import sys
from typing import Any

import pytest

from jobs.late_annotations import signature_of
from jobs.pickles import pack_by_value

TEXT = "def double(x: nowhere.Thing, y: int = 2) -> nowhere.Thing:\n    return y * x"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once")
def test_a_function_with_names_for_type_checkers_alone_is_sent_and_stays_as_it_is() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(TEXT, "<script>", "exec", dont_inherit=True), names)
    double = names["double"]
    sent = pack_by_value(double).load()
    assert sent(4) == 8
    assert signature_of(sent).parameters["y"].default == signature_of(double).parameters["y"].default == 2
    with pytest.raises(NameError):
        _ = double.__annotations__
