"""Visible: text of others (messages, ids, names of files) as a terminal may show it.

A terminal obeys what it is sent: escape sequences move the cursor and change its title, and characters that turn the
direction of writing round make a line read otherwise than it is.
"""

_SHORT = 400


def visible(text: str) -> str:
    """Control, formatting and unknown characters as escapes; line feeds and tabs stay."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else _escaped(one) for one in text)


def on_one_line(text: str) -> str:
    """The same with line feeds and tabs as escapes, too."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _escaped(one) for one in text)


def short_line(text: str, most: int = _SHORT) -> str:
    """A message on one line, its blanks as single ones, cut where it is longer than ``most`` characters."""
    line = on_one_line(" ".join(text.split()))
    return line if len(line) <= most else f"{line[:most]} ..."


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
