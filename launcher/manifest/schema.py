"""Column types of a manifest: from the sources' own to one schema, and batches cast to it.

Types are made plain first (no dictionaries, views or 64-bit offsets), so that array tasks meet few kinds and
the fingerprint depends on the values alone.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from jobs.errors import InputError
from jobs.nearest import did_you_mean, nearest
from jobs.references.references import Reference, decode
from jobs.storage.samples import METADATA_KEY


@dataclass(frozen=True)
class Scan:
    """What a first pass found. ``as_text``: the columns can be read as text without a loss (CSV).

    ``references``: which columns say only where the values lie.
    """

    name: str
    schema: pa.Schema
    rows: int
    as_text: bool = False
    references: Mapping[str, Reference] = dataclasses.field(default_factory=dict)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without encodings; raises ValueError for kinds that a manifest cannot hold."""
    types = pa.types
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_list(kind) or types.is_large_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if types.is_struct(kind):
        names = [field.name for field in kind]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"its objects have {repeated!r} more than once")
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    if types.is_fixed_size_list(kind) and types.is_primitive(kind.value_type):
        return kind
    if types.is_null(kind) or types.is_primitive(kind) or types.is_decimal(kind) or types.is_fixed_size_binary(kind):
        return kind
    raise ValueError(f"type {kind} is not supported")


def plain_schema(schema: pa.Schema, name: str) -> pa.Schema:
    """The schema with plain types, no metadata. Raises InputError for repeated columns and odd types."""
    repeated = sorted({column for column in schema.names if schema.names.count(column) > 1})
    if repeated:
        raise InputError(f"{name}: column {repeated[0]!r} is there more than once; give each column its own name")
    fields = []
    for field in schema:
        try:
            fields.append(pa.field(field.name, plain_type(field.type)))
        except ValueError as error:
            raise InputError(f"{name}: column {field.name!r}: {error}; convert it, or leave it out") from None
    return pa.schema(fields)


def common_schema(parts: Sequence[Sequence[Scan]], id_column: str | None) -> pa.Schema:
    """One schema for the sources of all parts: types widened where no value changes, ids as text.

    Sources of one part have the same columns; the schema has those of all parts, in the order in which they come. Raises
    InputError where names or types do not agree.
    """
    for scans in parts:
        _check_same_columns(scans)
    all_scans = [scan for scans in parts for scan in scans]
    names = dict.fromkeys(name for scan in all_scans for name in scan.schema.names)
    having = {name: [scan for scan in all_scans if name in scan.schema.names] for name in names}
    return pa.schema([pa.field(name, _common_type(having[name], name, name == id_column)) for name in names])


def common_references(scans: Sequence[Scan]) -> dict[str, Reference]:
    """The columns of references of all sources. Raises InputError for one that is another thing in another source."""
    found = {name: one for scan in scans for name, one in scan.references.items()}
    for scan in scans:
        for name in scan.schema.names:
            if scan.references.get(name) != found.get(name):
                raise InputError(
                    f"{scan.name}: column {name!r} is read by tasks from another kind of file in other manifests of this run; "
                    "use one kind of manifest, or runs of their own"
                )
    return found


def check_no_references(references: Mapping[str, Reference], wanted: Sequence[tuple[str, str | None]]) -> None:
    """Raises InputError where columns that config keys name are such; ``wanted``: (key, column)."""
    for key, column in wanted:
        if column in references:
            raise InputError(
                f"column {column!r} cannot be {key}: it is read when a task asks for it, not when a run is planned"
            )


def _check_same_columns(scans: Sequence[Scan]) -> None:
    first = scans[0]
    for scan in scans[1:]:
        missing = [name for name in first.schema.names if name not in scan.schema.names]
        extra = [name for name in scan.schema.names if name not in first.schema.names]
        if missing or extra:
            parts = [f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has also", extra)) if names]
            raise InputError(f"{scan.name}: {'; '.join(parts)}, unlike {first.name}; all parts need the same columns")


def _common_type(scans: Sequence[Scan], name: str, is_id: bool) -> pa.DataType:
    if is_id:
        for scan in scans:
            kind = scan.schema.field(name).type
            can_be_text = pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)
            if not (scan.as_text or can_be_text):
                raise InputError(
                    f"{scan.name}: column {name!r} (data.id) has type {kind}; ids are text or whole numbers"
                )
        return pa.string()
    own = {kind for scan in scans if not pa.types.is_null(kind := scan.schema.field(name).type)}
    if len(own) > 1 and all(scan.as_text for scan in scans):
        return pa.string()  # 2 beside 0.5 would be 2.0
    try:
        schemas = [pa.schema([scan.schema.field(name)]) for scan in scans]
        kind = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        if pa.types.is_floating(kind) and any(map(pa.types.is_decimal, own)):
            raise pa.ArrowTypeError("a float does not hold the digits of a decimal")
    except pa.ArrowTypeError:
        typed = [scan for scan in scans if not pa.types.is_string(scan.schema.field(name).type)]
        if not all(scan.as_text for scan in typed):
            raise _unlike(scans, name) from None
        kind = pa.string()
    # A column that is empty all along is empty text in a text file.
    return pa.string() if pa.types.is_null(kind) and any(scan.as_text for scan in scans) else kind


def _unlike(scans: Sequence[Scan], name: str) -> InputError:
    kinds = ", ".join(f"{scan.schema.field(name).type} in {scan.name}" for scan in scans[:3])
    return InputError(f"column {name!r} has types that do not go together: {kinds}; write it with one type")


def same_columns(
    schema: pa.Schema,
    before: pa.Schema,
    scans: Sequence[Scan],
    references: Mapping[str, Reference],
    id_column: str | None,
    *,
    may_lack: bool,
) -> pa.Schema:
    """The columns and types of a manifest of before, for sources with this schema; they ``may_lack`` some of its columns.

    Raises InputError where the columns are others, or of types that do not go together with those of before. Whether each
    value can be of the type shows when it is read.
    """
    missing = [] if may_lack else [name for name in before.names if name not in schema.names]
    extra = [name for name in schema.names if name not in before.names]
    if missing or extra:
        parts = [f"{word} {', '.join(names)}" for word, names in (("lacks", missing), ("has also", extra)) if names]
        raise InputError(f"the manifest {'; '.join(parts)}: new samples need the columns that the run's samples have")
    known = decode(json.loads((before.metadata or {}).get(METADATA_KEY, b"{}")))
    if others := [name for name in schema.names if references.get(name) != known.get(name)]:
        raise InputError(
            f"column {others[0]!r} lies in another kind of file than that of the run's samples: new samples need the kind of "
            "manifest that these have"
        )
    for scan in scans:
        for name in scan.schema.names:
            if name != id_column:  # text, whatever its source has
                _check_kind(before.field(name), scan)
    return pa.schema(list(before))


def _check_kind(field: pa.Field, scan: Scan) -> None:
    """Raises InputError unless a source's column goes together with one of before as two sources of one manifest do.

    Of text a cell that is none of the column's numbers has a row: it is told when that is read.
    """
    printed = scan.as_text and is_printed(field.type)
    if printed and pa.types.is_string(scan.schema.field(field.name).type):
        return
    both = Scan("the run", pa.schema([field]), 0, as_text=printed), scan
    if printed and _common_type(both, field.name, is_id=False) != field.type:
        raise _unlike(both, field.name)
    _common_type(both, field.name, is_id=False)


def is_printed(kind: pa.DataType) -> bool:
    """Whether a column of text can be read as one of this type, where each cell prints back as written."""
    # With pyarrow.compute, whose import takes 70 ms, which what is of text has imported.
    from launcher.manifest.csv_types import PRINTED

    return kind in PRINTED


def own_columns(schema: pa.Schema, scan: Scan) -> pa.Schema:
    """The columns of the schema that a source has."""
    return pa.schema([field for field in schema if field.name in scan.schema.names], schema.metadata)


def with_all_columns(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with nulls in the columns that it lacks."""
    if batch.num_columns == len(schema):
        return batch
    own = set(batch.schema.names)
    columns = [batch.column(f.name) if f.name in own else pa.nulls(batch.num_rows, f.type) for f in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def check_columns(schema: pa.Schema, name: str, wanted: Sequence[tuple[str, str | None]]) -> None:
    """Raises InputError unless the columns that config keys name are there; ``wanted``: (key, column)."""
    for key, column in wanted:
        if column is not None and column not in schema.names:
            near = [repr(name) for name in nearest(column, schema.names)]
            guess = did_you_mean(near, as_sentence=True)
            names = ", ".join(schema.names)
            raise InputError(f"{name}: there is no column {column!r} ({key}).{guess} Its columns: {names}")
