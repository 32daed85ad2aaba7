"""Page: the parts of a report, and their HTML; it needs nothing but itself: no network, no other file."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Table:
    """Cells as text; ``numbers`` are the columns that are numbers. ``left_out`` says what it does not show."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    left_out: str = ""

    @cached_property
    def shown(self) -> Sequence[int]:
        """The columns that have something in them."""
        return sorted({column for row in self.rows for column, cell in enumerate(row) if cell})


@dataclass(frozen=True)
class Use:
    """What an array task was given of something, and used; ``share`` of it, 0 to 1."""

    what: str
    given: str
    used: str
    share: float | None
    advice: str = ""


@dataclass(frozen=True)
class FailureText:
    """A cause of failures, with what to do about it and what a log says of it."""

    kind: str
    counts: str
    line: str
    message: str
    examples: str
    advice: str
    log: str = ""
    excerpt: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page; ``svg`` is drawn already, all else is text. ``files`` have a title each, and are closed at first."""

    id: str
    title: str
    texts: Sequence[str] = ()
    tiles: Sequence[tuple[str, str]] = ()
    svg: str = ""
    caption: str = ""
    uses: Sequence[Use] = ()
    tables: Sequence[Table] = ()
    failures: Sequence[FailureText] = ()
    files: Sequence[tuple[str, str]] = ()


def render(name: str, state: str, headline: str, sections: Sequence[Section]) -> str:
    """The HTML; whatever a text holds, it is text there."""
    import jinja2
    import markupsafe

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    drawn: list[dict[str, Any]] = [{**vars(one), "svg": markupsafe.Markup(one.svg)} for one in sections]
    return template.render(name=name, state=state, headline=headline, sections=drawn)
