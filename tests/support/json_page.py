"""docs/reference/json.md, made of the types of the documents: ``python -m tests.support.json_page`` writes it."""

from collections.abc import Iterator, Mapping
from typing import Any

from launcher.documents.documents import DOCUMENTS, document_schema
from tests.support.launcher_runs import ROOT

PAGE = ROOT / "docs" / "reference" / "json.md"
_HEAD = """\
# JSON documents

Every command with `--json` prints one document on stdout, and messages for people on stderr. `schema` is 1 in all of
them. Fields are not removed within a major version, and new ones may come: ignore what you do not know. An error is
`{"schema": 1, "error": "..."}`, with the [exit code](exit-codes.md).

This page is made of the types in the code. `launcher schema --document status` prints the same for programs: the JSON
Schema of what `launcher status --json` prints; so it is for each command. More about looking at runs is in
[looking.md](../looking.md), what failures mean in [failures.md](../failures.md), which events and metrics there are in
[report.md](../report.md).

A field with `?` is there only where it has something to say. `[]` is a list; its fields are those of each entry. `*` is
any name.
"""
_WORDS = {"string": "text", "integer": "number", "number": "number", "boolean": "true or false", "array": "list"}
_PROBLEM = "ProblemDocument"
Form = Mapping[str, Any]


def page() -> str:
    """A section for the commands that print the same, a table for each form that this may have."""
    commands: dict[tuple[type, ...], list[str]] = {}
    for command, kinds in DOCUMENTS.items():
        commands.setdefault(kinds, []).append(command)
    return "".join([_HEAD, *_Sections(list(commands.values())).all()])


class _Sections:
    """What has been told in one section is referred to in those that follow."""

    def __init__(self, commands: list[list[str]]) -> None:
        self._commands = commands
        self._told: dict[str, tuple[str, frozenset[str]]] = {}
        """Names of forms -> the link to where they are, and their fields."""

    def all(self) -> Iterator[str]:
        for names in self._commands:
            yield f"\n## {', '.join(names)}\n"
            schema = document_schema(names[0])
            self._defs: Form = schema["$defs"]
            for form in filter(lambda name: name != _PROBLEM, map(_name, schema["anyOf"])):
                yield self._table(form, f"[{names[0]}](#{'-'.join(names)})")

    def _table(self, form: str, link: str) -> str:
        known = self._defs[form]
        if form in self._told:
            return f"\n{known['description']} As of {self._told[form][0]}.\n"
        self._told[form] = link, frozenset(known["properties"])
        rows = "".join(
            f"| `{name}`{mark} | {kind} | {words}{words and ' '}|\n" for name, mark, kind, words in self._rows(known)
        )
        return f"\n{known['description']}\n\n| field | type | is |\n| --- | --- | --- |\n{rows}"

    def _rows(self, form: Form, above: str = "", without: frozenset[str] = frozenset()) -> Iterator[tuple[str, ...]]:
        """(name, mark, type, meaning) of each field, and of the objects in it; those that are always there first."""
        required = form.get("required", ())
        for name in sorted(form["properties"].keys() - {*without, "schema"}, key=_order(form)):
            yield from self._field(f"{above}{name}", "" if name in required else " ?", form["properties"][name])

    def _field(self, name: str, mark: str, field: Form) -> Iterator[tuple[str, ...]]:
        suffix, entry = "", field
        if field.get("type") == "array":
            suffix, entry = "[]", field["items"]
        elif isinstance(field.get("additionalProperties"), dict):
            suffix, entry = ".*", field["additionalProperties"]
            suffix, entry = (".*[]", entry["items"]) if entry.get("type") == "array" else (suffix, entry)
        kinds = [self._defs[_name(one)] for one in entry.get("anyOf", [entry]) if "$ref" in one]
        objects = [kind for kind in kinds if "properties" in kind]
        inner = _merged(objects) if 0 < len(objects) <= 2 else None
        link, told = self._known(inner) if inner else ("", frozenset[str]())
        enum = next((kind["enum"] for kind in kinds if "enum" in kind), field.get("enum", ()))
        words = "; ".join(filter(None, [field.get("description"), ", ".join(enum), link and f"as of {link}"]))
        if mark or words or not inner:
            yield name, mark, self._kind(field), words
        if inner:
            yield from self._rows(inner, f"{name}{suffix}.", told)

    def _known(self, form: Form) -> tuple[str, frozenset[str]]:
        """Where all of an object, or most of it, is told already."""
        fits = [one for one in self._told.values() if len(one[1]) > 4 and one[1] <= form["properties"].keys()]
        return max(fits, key=lambda one: len(one[1]), default=("", frozenset()))

    def _kind(self, field: Form) -> str:
        if "anyOf" in field:
            return " or ".join(dict.fromkeys(map(self._kind, field["anyOf"])))
        if "$ref" in field:
            return self._kind(self._defs[_name(field)])
        kind = str(field.get("type", "any"))
        return _WORDS.get(kind, kind)


def _order(form: Form) -> Any:
    names = list(form["properties"])
    return lambda name: (name not in form.get("required", ()), names.index(name))


def _merged(forms: list[Form]) -> Form:
    """What one or the other has; required is what both have."""
    required = set.intersection(*(set(form.get("required", ())) for form in forms))
    return {
        "properties": {name: one for form in forms for name, one in form["properties"].items()},
        "required": required,
    }


def _name(reference: Form) -> str:
    return str(reference["$ref"].rpartition("/")[2])


if __name__ == "__main__":
    PAGE.write_text(page())
