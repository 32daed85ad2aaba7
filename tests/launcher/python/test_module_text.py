"""The module that is made of a script's or notebook's definitions: all that they use, in an order that works, or a refusal."""

import contextlib
import sys
import types
from typing import Any, get_args

import pytest

from jobs.errors import InputError
from launcher.python.main_source import MainSource
from launcher.python.module_text import module_text


def session(monkeypatch: pytest.MonkeyPatch, *cells: str) -> dict[str, Any]:
    """The names of a notebook in which these cells were run; one that raises is left there."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    for number, cell in enumerate(cells):
        with contextlib.suppress(ZeroDivisionError):
            exec(compile(cell, f"<cell {number}>", "exec", dont_inherit=True), vars(main))
    return vars(main)


def made(monkeypatch: pytest.MonkeyPatch, name: str, *cells: str) -> dict[str, Any]:
    """What a module has that is made of ``name``, as it is in a notebook of these cells."""
    names = session(monkeypatch, *cells)
    text = module_text(names[name], MainSource("this notebook", "notebook", cells), "job_of_notebook")
    found: dict[str, Any] = {"__name__": "job_of_notebook", "text": text}
    exec(compile(text, "<made>", "exec", dont_inherit=True), found)
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
    assert "B's base A.b is not what" in refusal(monkeypatch, "B", *cells), "that of B is the A before"


def test_functions_that_use_each_other_are_both_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)"
    assert made(monkeypatch, "even", cell)["even"](10) is True


def test_decorated_annotated_and_starred_names_are_had(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = (
        "from dataclasses import dataclass\nfrom typing import Any\nfrom math import *\nRow = dict[str, Any]\n"
        "@dataclass\nclass P:\n    x: int = 3\n    def root(self, row: Row) -> float:\n        return sqrt(self.x + row['x'])\n"
    )
    assert made(monkeypatch, "P", cell)["P"]().root({"x": 1}) == 2


def test_a_dataclass_may_have_fields_of_other_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = (
        "from dataclasses import dataclass\nfrom enum import Enum",
        "class Kind(Enum):\n    A = 1",
        "@dataclass(frozen=True, slots=True)\nclass P:\n    kind: Kind",
    )
    found = made(monkeypatch, "P", *cells)
    assert found["P"](found["Kind"].A).kind is found["Kind"].A


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
        module_text(old, MainSource("this notebook", "notebook", (cell, cell)), "job_of_notebook")


def test_a_value_is_that_which_it_has_now(monkeypatch: pytest.MonkeyPatch) -> None:
    assert made(monkeypatch, "f", "N = []\nfor i in range(3):\n    N.append(i)\ndef f(): return N")["f"]() == [0, 1, 2]


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        (("model = object()\ndef f(): return model",), "f uses model, an object of this notebook"),
        (("g = lambda x: x\ndef f(): return g(1)",), "f uses g, a lambda of this notebook, which no other process has"),
        (("def make():\n    def f(): return 1\n    return f\nf = make()",), "f: which is defined inside a function"),
        (("import re\nword = re.compile('x')\ndef g(): return word\ndef f(): return g()",), "g uses word, a Pattern"),
        (("x = list(range(5000))\ndef f(): return x",), "f uses x, a list"),
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
            vars(main)["f"],
            MainSource("this notebook", "notebook", ("get_ipython().run_cell_magic('time', '', 'x')",)),
            "job_of_notebook",
        )


NUMPY = "import numpy as np\n"


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        ((NUMPY + "T = np.float32\nif 1 > 2:\n    T = np.float16", "def f(): return T.__name__"), "float32"),
        (("if 1 < 2:\n    def g(): return 'yes'\nelse:\n    def g(): return 'no'", "def f(): return g()"), "yes"),
        (("try:\n    import json\nexcept ImportError:\n    import no_such as json", "def f(): return json.dumps(1)"), "1"),
        (("try:\n    from math import ceil as L\nexcept:\n    from math import floor as L", "def f(): return L(0.5)"), 1),
        (("import os\ndef f(): return os.path.basename('a/b')",), "b"),
        (("import os", "def f(): return os.path.basename('a/b')"), "b"),
        (("def g(): return 'old'", "1 / 0\ndef g(): return 'new'", "def f(): return g()"), "old"),
        (("def g(): return 1\nD = {'a': g}\ndef f(): return D['a']()",), 1),
        (("N = {'a': 1}\nN['b'] = 2\nS = [{'x', 'y'}, ()]", "def f(): return N, S"), ({"a": 1, "b": 2}, [{"x", "y"}, ()])),
        (("\f\ndef f():\n    y = 1\n    return y",), 1),
        (("S = '\u2028'\ndef f():\n    return '\u2028', S, 1",), ("\u2028", "\u2028", 1)),
        (("def deco(f):\n    def w(): return f() + 1\n    return w", "@deco\ndef g(): return 1\ndef f(): return g()"), 2),
        (("A = [1]\ndef g(x=A): return x", "def f():\n    A.append(2)\n    return g()"), [1, 2]),
        (("from functools import lru_cache\n@lru_cache\ndef g(): return 1\ng()\ndef f(): return g()",), 1),
        (("import enum\nclass E(enum.Enum):\n    A = 1\nX = E.A", "def f(): return X is E.A"), True),
        (("'''Doc.'''\ndef f(): return __doc__",), "Doc."),
    ],
)  # fmt: skip
def test_a_name_means_what_was_run_not_what_comes_last(
    monkeypatch: pytest.MonkeyPatch, cells: tuple[str, ...], value: Any
) -> None:
    assert made(monkeypatch, "f", *cells)["f"]() == value


FILLED = "V = {}\nfor n in range(2000):\n    V['word %d' % n] = n\n"
REGISTRY = "R = {}\ndef keep(g):\n    R[g.__name__] = g\n    return g\n@keep\ndef g(): return 1\n"
COUNTED = "C = []\ndef keep(g):\n    C.append(g.__name__)\n    return g\n@keep\ndef g(): return len(C)\n"
COUNTING = "def count():\n    n = 0\n    def w():\n        nonlocal n\n        n += 1\n        return n\n    return w"


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        ((FILLED, "def f(): return V.get('word 1', 0)"), "f uses V, a dict"),
        ((REGISTRY, "def f(): return R.get('g')"), "f uses R, a dict"),
        ((COUNTED, "def f(): return g()"), "C"),
        (("class D(dict): pass\nC = D(lr=1)", "def f(): return C.lr"), "f uses C, a D"),
        (("class D(dict): pass\nC = [D(lr=1)]", "def f(): return C[0].lr"), "f uses C, a list"),
        (("A = []\nB = A", "def f():\n    A.append(1)\n    return B"), "f uses B"),
        (("class J:\n    size = 1", "J.size = 2", "def f(): return J.size"), "J.size is not what"),
        (("class J:\n    def a(self): return 1", "J.a = lambda self: 2", "def f(): return J().a()"), "J.a is not what"),
        (("class J:\n    __rank__ = 1", "J.__rank__ = 2", "def f(): return J.__rank__"), "J.__rank__ is not what"),
        (("def g(x=1): return x", "g.__defaults__ = (2,)", "def f(): return g()"), "g's defaults"),
        (("def g(): return 1", "g.n = 2", "def f(): return g.n"), "f uses g, which another process"),
        (("N = 1\ndef g(x=N): return x", "N = 2", "def f(): return g()"), "g's defaults"),
        (("class K:\n    x = 1\nif 1 > 2:\n    class K:\n        x = 2", "def f(): return K.x"), "K.x is not what"),
        ((COUNTING, "w = count()\ndef f(): return w()"), "f uses w, which is defined inside a function"),
        (("def f(): return globals().get('x', 0)", "x = 1"), "f uses globals()"),
        (("import json\ndef own(x): return 1\njson.own = own\nfrom json import own as o", "def f(): return o(1)"), "f uses o"),
        (("class T(type):\n    pass\nx = T('x', (), {})", "def f(): return x"), "f uses x"),
    ],
)  # fmt: skip
def test_what_is_another_by_now_is_refused(monkeypatch: pytest.MonkeyPatch, cells: tuple[str, ...], named: str) -> None:
    assert named in refusal(monkeypatch, "f", *cells)


def test_a_source_that_was_changed_since_it_was_run_is_no_source(monkeypatch: pytest.MonkeyPatch) -> None:
    names = session(monkeypatch, "def f(): return 1")
    with pytest.raises(InputError, match="f: whose source is not to be found in this notebook"):
        module_text(names["f"], MainSource("this notebook", "notebook", ("def f(): return 2",)), "job_of_notebook")


def test_where_an_exception_is_caught_is_a_part_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same instructions, of which an `except` is for others."""
    caught = "def f(a, b):\n    try:\n        a(){}b()\n    except ValueError:\n        pass\n{}    return None\n"
    both, first = (
        caught.format("; ", ""),
        caught.format("\n    ", "").replace("\n    b()", "").replace("pass\n", "pass\n    else:\n        b()\n"),
    )
    names = session(monkeypatch, both)
    with pytest.raises(InputError, match="f"):
        module_text(names["f"], MainSource("this notebook", "notebook", (first,)), "job_of_notebook")


def test_what_an_annotation_of_text_names_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = "from pathlib import Path\nclass J:\n    def __init__(self, x: 'Path'): self.x = x"
    assert "Path" in made(monkeypatch, "J", cell)


def test_annotations_that_are_text_stay_text(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = "from __future__ import annotations\ndef f(x: int = 1): return f.__annotations__['x']"
    assert made(monkeypatch, "f", cell)["f"]() == "int"


def test_the_definition_at_the_lines_is_taken_of_two_with_the_same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "class A:\n    x = %d\n    def g(self): return self.x\n"
    cell = f"{text % 1}if A is None:\n    {(text % 2).replace(chr(10), chr(10) + '    ').rstrip()}\ndef f(): return A().g()"
    assert made(monkeypatch, "f", cell)["f"]() == 1
