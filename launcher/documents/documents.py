"""Documents: which ones each command may print with --json, and their JSON Schema, made of the types."""

from typing import Any, Union

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from jobs.errors import InputError
from jobs.nearest import did_you_mean, nearest
from launcher.documents import helps, looks, results, starts, status, trials


class ProblemDocument(TypedDict):
    """Why the command could not do it; its exit code is 1 or 2."""

    error: str


_LOOKS = (status.StatusDocument, status.RunsDocument, status.ListDocument)
_STARTS = (starts.StartDocument, starts.StartsDocument)
DOCUMENTS: dict[str, tuple[type, ...]] = {
    "plan": (starts.PlanDocument, starts.PlansDocument),
    "submit": _STARTS,
    "run": (status.StatusDocument, status.RunsDocument),
    "status": _LOOKS,
    "top": _LOOKS,
    "report": (looks.ReportDocument,),
    "metrics": (looks.MetricsDocument,),
    "events": (looks.EventsDocument,),
    "errors": (looks.ErrorsDocument,),
    "logs": (looks.LogsDocument,),
    "rerun": (starts.StartDocument,),
    "extend": (starts.ExtendDocument,),
    "clean": (results.CleanDocument,),
    "cancel": (starts.CancelDocument,),
    "gather": (results.GatherDocument,),
    "export": (results.ExportDocument,),
    "verify": (results.VerifyDocument,),
    "list": (status.ListDocument,),
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

# That of config_schema, too.
_SCHEMA = "http://json-schema.org/draft-07/schema#"
_REFERENCE = "#/$defs/{model}"


def document_schema(command: str) -> dict[str, Any]:
    """The JSON Schema of what ``launcher COMMAND --json`` prints. Fields that it does not have may come. Raises InputError."""
    if command not in DOCUMENTS:
        guess = did_you_mean(nearest(command, DOCUMENTS)) or f"; valid: {', '.join(DOCUMENTS)}"
        raise InputError(f"no command {command!r}{guess}")
    kinds: Any = Union[(*DOCUMENTS[command], ProblemDocument)]
    # Within a list, so that this setting reaches the types, which have none of their own.
    adapter = TypeAdapter(
        list[kinds], config={"use_attribute_docstrings": True, "json_schema_serialization_defaults_required": True}
    )
    made = adapter.json_schema(mode="serialization", ref_template=_REFERENCE)
    return {
        "$schema": _SCHEMA,
        "title": f"launcher {command} --json",
        "type": "object",
        "properties": {"schema": {"const": 1}},
        "required": ["schema"],
        **made["items"],
        "$defs": _untitled(made["$defs"]),
    }


def _untitled(form: Any) -> Any:
    """Without the titles that pydantic makes of names; a field may be called so."""
    if isinstance(form, list):
        return list(map(_untitled, form))
    if not isinstance(form, dict):
        return form
    return {key: _untitled(value) for key, value in form.items() if key != "title" or isinstance(value, dict)}
