"""Documents of commands that help to write configs, and to type."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from launcher.documents.status import Json


class ParameterDocument(TypedDict):
    """A parameter of a Job."""

    name: str
    type: str | None
    """as in Python; null: any"""
    required: bool
    default: NotRequired[Any]
    description: str


class JobDocument(TypedDict):
    """A Job."""

    job: str
    """module:Class"""
    package: str | None
    """that it comes with"""
    to_install: str | None
    """the command that installs what it needs and is not there"""
    problem: str | None
    """why it cannot be used"""
    summary: str
    text: str
    """its docstring"""
    parameters: list[ParameterDocument]


class JobsDocument(TypedDict):
    """The Jobs that there are."""

    jobs: list[JobDocument]


class InitDocument(TypedDict):
    """A config that was written."""

    config: str
    job: str
    json_schema: str
    """the file beside it"""


class SchemaDocument(TypedDict):
    """A JSON Schema."""

    json_schema: Json


class CompletionDocument(TypedDict):
    """For a shell."""

    script: str


class ManDocument(TypedDict):
    """A man page."""

    page: str
    text: str


class ManFilesDocument(TypedDict):
    """Man pages that were written."""

    files: list[str]
