"""Late annotations: from Python 3.14 on they are evaluated when somebody asks, and may name what type checkers alone import.

Where they are text (``from __future__ import annotations``) such names do no harm. Nor do they here.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """What anything takes, with forward references for what has no meaning at run time."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


@contextmanager
def as_text(function: FunctionType) -> Iterator[None]:
    """Inside, annotations of which some cannot be evaluated are text, for those who ask for the values."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        late = function.__annotate__
        try:
            get_annotations(function)
        except (NameError, AttributeError):
            function.__annotations__ = get_annotations(function, format=Format.STRING)
            try:
                yield
            finally:
                function.__annotate__ = late
            return
    yield
