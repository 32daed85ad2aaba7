"""Whether a document is what its type says: by the JSON Schema that users get, and without a field that it does not have."""

from collections.abc import Callable
from functools import cache
from typing import Any

import fastjsonschema

from launcher.documents.documents import document_schema


def check_document(command: str, document: Any) -> None:
    """Raises JsonSchemaException for one that ``launcher COMMAND --json`` is not to print."""
    _validator(command)(document)


@cache
def _validator(command: str) -> Callable[[Any], Any]:
    schema = document_schema(command)
    for form in schema["$defs"].values():
        if "properties" in form:
            form["additionalProperties"] = False
            form["properties"].setdefault("schema", {})
    compiled: Callable[[Any], Any] = fastjsonschema.compile(schema, use_default=False)
    return compiled
