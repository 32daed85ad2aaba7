"""The module that is made of a script's or notebook's definitions: all that they use, in an order that works, or a refusal."""

import sys
import types
from typing import Any, get_args

import pytest

from jobs.errors import InputError
from launcher.python.main_source import MainSource
from launcher.python.module_text import module_text


def made(monkeypatch: pytest.MonkeyPatch, name: str, *cells: str) -> dict[str, Any]:
    """What a module has that is made of ``name``, as it is in a notebook of these cells."""
    main = types.ModuleType("__main__")
    for cell in cells:
        exec(compile(cell, "<cell>", "exec"), vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    text = module_text(vars(main)[name], MainSource("this notebook", "notebook", cells))
    found: dict[str, Any] = {"__name__": "job_of_notebook", "text": text}
    exec(compile(text, "<made>", "exec"), found)
    return found


def refusal(monkeypatch: pytest.MonkeyPatch, name: str, *cells: str) -> str:
    with pytest.raises(InputError) as caught:
        made(monkeypatch, name, *cells)
    return str(caught.value)


def test_what_a_function_uses_comes_with_it_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = (
        "import os.path, json as j\nfrom math import pi as PI, e\nSIZE = 2 * 8\nOTHER = object()",
        "def area(r):\n    return PI * r * SIZE\n",
        "def f(x):\n    # a comment stays\n    return area(x), os.path.basename(j.dumps(x))",
    )
    found = made(monkeypatch, "f", *cells)
    assert found["f"](1)[1] == "1"
    assert "# a comment stays" in found["text"]
    assert {"OTHER", "e"} & found.keys() == set()
    assert "SIZE = 16" in found["text"]


def test_the_last_definition_counts_and_bases_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook whose cells were run again, in another order than they use each other."""
    cells = (
        "class A:\n    x = 1",
        "class B(A):\n    pass",
        "class A:\n    x = 2\n    def b(self): return B()",
        "class B(A):\n    pass",
        "class A:\n    x = 3",
    )
    assert made(monkeypatch, "B", *cells[:4])["B"].x == 2
    assert made(monkeypatch, "B", *cells)["B"].x == 3


def test_functions_that_use_each_other_are_both_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)"
    assert made(monkeypatch, "even", cell)["even"](10) is True


def test_decorated_annotated_and_starred_names_are_had(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = (
        "from dataclasses import dataclass\nfrom typing import Any\nfrom math import *\nRow = dict[str, Any]\n"
        "@dataclass\nclass P:\n    x: int = 3\n    def root(self, row: Row) -> float:\n        return sqrt(self.x + row['x'])\n"
    )
    assert made(monkeypatch, "P", cell)["P"]().root({"x": 1}) == 2


def test_a_name_for_a_type_comes_after_the_class_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = "class P:\n    x = 1\nRow = dict[str, P]\ndef f(): return Row"
    found = made(monkeypatch, "f", cell)
    assert get_args(found["f"]())[1] is found["P"]


def test_a_class_that_was_defined_anew_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    main = types.ModuleType("__main__")
    cell = "class A:\n    pass"
    exec(cell, vars(main))
    old = vars(main)["A"]
    exec(cell, vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(InputError, match="which this notebook has defined anew since this one was made: make it again"):
        module_text(old, MainSource("this notebook", "notebook", (cell, cell)))


def test_a_value_is_that_which_it_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(monkeypatch, "f", "N = []\nfor i in range(3):\n    N.append(i)\ndef f(): return N")["f"]() == [0, 1, 2]


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        (("model = object()\ndef f(): return model",), "f uses model, a builtins.object of this notebook"),
        (("g = lambda x: x\ndef f(): return g(1)",), "f uses g, a lambda of this notebook, which no other process has"),
        (("def make():\n    def f(): return 1\n    return f\nf = make()",), "f: which is defined inside a function"),
        (("import re\nword = re.compile('x')\ndef g(): return word\ndef f(): return g()",), "g uses word, a re.Pattern"),
        (("x = list(range(5000))\ndef f(): return x",), "f uses x, a builtins.list"),
    ],
    ids=["object", "lambda", "closure", "through another", "data"],
)  # fmt: skip
def test_what_cannot_be_had_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, cells: tuple[str, ...], named: str
) -> None:
    assert named in refusal(monkeypatch, "f", *cells)


def test_a_definition_in_a_magic_cell_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    main = types.ModuleType("__main__")
    exec("def f(): return 1", vars(main))
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(InputError, match=r"f: whose source is not to be found in this notebook: .* without %%magic"):
        module_text(
            vars(main)["f"], MainSource("this notebook", "notebook", ("get_ipython().run_cell_magic('time', '', 'x')",))
        )
