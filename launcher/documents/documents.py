"""Documents: which ones each command may print with --json, and their JSON Schema, made of the types."""

from typing import Any, Union

from pydantic import TypeAdapter
from typing_extensions import TypedDict, get_original_bases, is_typeddict

from jobs.errors import InputError
from jobs.nearest import did_you_mean, nearest
from launcher.documents import helps, lists, looks, results, starts, status, trials


class ProblemDocument(TypedDict):
    """Why the command could not do it; its exit code is 1 or 2."""

    error: str


SCHEMA = 1
_LOOKS = (status.StatusDocument, lists.RunsDocument, lists.ListDocument)
_STARTS = (starts.StartDocument, starts.StartsDocument)
DOCUMENTS: dict[str, tuple[type, ...]] = {
    "status": _LOOKS,
    "top": _LOOKS,
    "list": (lists.ListDocument,),
    "plan": (starts.PlanDocument, starts.PlansDocument),
    "submit": _STARTS,
    "run": (status.StatusDocument, lists.RunsDocument),
    "report": (looks.ReportDocument,),
    "metrics": (looks.MetricsDocument,),
    "events": (looks.EventsDocument,),
    "errors": (looks.ErrorsDocument,),
    "logs": (looks.LogsDocument,),
    "rerun": (starts.StartDocument, starts.SweptStartsDocument),
    "extend": (starts.ExtendDocument,),
    "clean": (results.CleanDocument,),
    "cancel": (starts.CancelDocument, starts.SweptCancelsDocument),
    "gather": (results.GatherDocument, results.SweptResultsDocument),
    "export": (results.ExportDocument,),
    "verify": (results.VerifyDocument, results.SweptChecksDocument),
    "jobs": (helps.JobsDocument, helps.JobDocument),
    "completion": (helps.CompletionDocument,),
    "man": (helps.ManDocument, helps.ManFilesDocument),
    "doctor": (trials.DoctorDocument,),
    "init": (helps.InitDocument,),
    "schema": (helps.SchemaDocument,),
    "try": (trials.TryDocument,),
    "probe": (trials.ProbeDocument,),
}
"""By command; one that does several runs at once has them in ``runs``."""

_MODULES = (helps, lists, looks, results, starts, status, trials)
_TYPES = {name: kind for module in _MODULES for name, kind in vars(module).items() if is_typeddict(kind)}
# That of config_schema, too.
_DRAFT = "http://json-schema.org/draft-07/schema#"
_REFERENCE = "#/$defs/{model}"


def document_schema(command: str) -> dict[str, Any]:
    """The JSON Schema of what ``launcher COMMAND --json`` prints. Fields that it does not have may come. Raises InputError."""
    if command not in DOCUMENTS:
        guess = did_you_mean(nearest(command, DOCUMENTS)) or f"; valid: {', '.join(DOCUMENTS)}"
        raise InputError(f"no command {command!r}{guess}")
    forms, definitions = _schema_of(Union[(*DOCUMENTS[command], ProblemDocument)])
    return {
        "$schema": _DRAFT,
        "title": f"launcher {command} --json",
        "type": "object",
        "properties": {"schema": {"const": SCHEMA}},
        "required": ["schema"],
        **forms,
        "$defs": _untitled(definitions),
    }


def _schema_of(kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What refers to the type or types, and the definitions of these and of all that is in them."""
    # Within a list, so that this setting reaches the types, which have none of their own.
    adapter = TypeAdapter(list[kind], config={"use_attribute_docstrings": True})
    made = adapter.json_schema(mode="serialization", ref_template=_REFERENCE)
    definitions: dict[str, Any] = made.get("$defs", {})
    for name in definitions.keys() & _TYPES.keys():
        for base in filter(is_typeddict, get_original_bases(_TYPES[name])):
            _inherit(definitions[name], _schema_of(base)[1][base.__name__])
    return made["items"], definitions


def _inherit(form: dict[str, Any], base: dict[str, Any]) -> None:
    """Descriptions of fields that are those of a base: they stand below them there."""
    for name, field in base["properties"].items():
        if "description" in field:
            form["properties"][name].setdefault("description", field["description"])


def _untitled(form: Any) -> Any:
    """Without the titles that pydantic makes of names; a field may be called so."""
    if isinstance(form, list):
        return list(map(_untitled, form))
    if not isinstance(form, dict):
        return form
    return {key: _untitled(value) for key, value in form.items() if key != "title" or isinstance(value, dict)}
