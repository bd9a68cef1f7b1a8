"""What every event type must keep to before it is published. Judged on the exported schema, so that no type can hide.

No direct identifier and no free text on the bus: a text is one of the kinds of ``schemas.fields``, a word out of a list, or
a time; a field whose name asks for a name, an address or a remark is refused whatever its type. No machine can prove that
an id says nothing about a person; the leak scan looks for that on the running system.
"""

import json
import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Final

from pydantic import TypeAdapter, ValidationError

from schemas import fields
from schemas.fields import HEALTH_KINDS, KINDS
from schemas.registry import DataClass, EventType
from schemas.wire import MissingSample, Schema, full_sample, samples_of, schema_of, variant_of

__all__ = ["problems"]

_IDENTIFYING: Final = frozenset({
    "address", "birth", "birthdate", "birthday", "city", "comment", "comments", "display", "dob", "email", "firstname",
    "forename", "fullname", "lastname", "mail", "message", "mobile", "mrn", "name", "names", "note", "notes", "passport",
    "phone", "postcode", "remark", "remarks", "ssn", "street", "surname", "telephone", "text", "transcript", "zip", "zipcode",
})  # fmt: skip
"""Words in a field's name that ask for what may not be on the bus."""

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_TIMES: Final = frozenset({"date-time", "date", "time"})
_ALLOWED: Final = frozenset({"string", "integer", "boolean", "array", "object"})


def problems(kind: EventType) -> list[str]:
    """What is wrong with a row of the registry and its model; empty when nothing is."""
    found = list(_of_the_row(kind))
    data = schema_of(kind)["properties"]["data"]
    found += _of_a_field(data, "data", kind.data_class)
    if found:
        return found
    try:
        sample = full_sample(kind)
    except MissingSample as problem:
        return [str(problem)]
    return [*_left_out(data, sample["data"], "data"), *_unread(kind)]


def _of_the_row(kind: EventType) -> Iterator[str]:
    try:
        date.fromisoformat(kind.since)
    except ValueError:
        yield "since is not an ISO 8601 date"


def _of_a_field(schema: Schema, at: str, data_class: DataClass) -> Iterator[str]:
    name = at.rpartition(".")[2].removesuffix("[]")
    if _IDENTIFYING & {word.lower() for word in re.split(r"_|(?<=[a-z])(?=[A-Z])", name)}:
        yield f"{at}: the name asks for a direct identifier or free text"
    if not schema.get("description") and not at.endswith("[]"):
        yield f"{at}: is not described (the model's docstring, section Attributes)"
    branches = [branch for key in ("anyOf", "oneOf") for branch in schema.get(key, ())] or [schema]
    for branch in branches:
        yield from _of_a_type(branch, at, data_class)


def _of_a_type(schema: Schema, at: str, data_class: DataClass) -> Iterator[str]:
    words = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if words is not None:
        if not all(isinstance(word, int) or _WORD.fullmatch(str(word)) for word in words):
            yield f"{at}: a constant is a sentence"
        return
    match schema.get("type"):
        case "null":
            yield f"{at}: null is never written; make the field optional (`X | None = None`)"
        case "number":
            yield f"{at}: a binary float; use DecimalText or a whole number with its unit"
        case "string":
            yield from _of_a_text(schema, at, data_class)
        case "array":
            if "prefixItems" in schema:
                yield f"{at}: a list whose places mean different things; use an object"
            yield from _of_a_field(schema.get("items", {}), f"{at}[]", data_class)
        case "object":
            if schema.get("additionalProperties") is False:
                yield f"{at}: is closed to fields of a later minor version"
            if "properties" not in schema and set(schema) & {"additionalProperties", "patternProperties", "propertyNames"}:
                yield f"{at}: a map has names that nobody checks; use a list of objects"
            for name, field in schema.get("properties", {}).items():
                yield from _of_a_field(field, f"{at}.{name}", data_class)
        case other if other not in _ALLOWED:
            yield f"{at}: may be anything"


def _of_a_text(schema: Schema, at: str, data_class: DataClass) -> Iterator[str]:
    if schema.get("format") in _TIMES:
        return
    kind = str(schema.get("x-kind", ""))
    if kind not in KINDS:
        yield f"{at}: text of no known kind may be free text; use a type of schemas.fields"
    elif not _is_bounded_as(kind, schema):
        yield f"{at}: says that it is a {kind}, but is not bounded like one"
    elif kind in HEALTH_KINDS and data_class is DataClass.OPERATIONAL:
        yield f"{at}: a {kind} speaks of a patient, but the event's data class is operational"


def _is_bounded_as(kind: str, schema: Schema) -> bool:
    """Its pattern is the kind's; its length may be shorter."""
    return any(
        schema.get("pattern") == known.get("pattern")
        and schema.get("format") == known.get("format")
        and schema.get("maxLength", 0) <= known.get("maxLength", 0)
        for known in _BY_KIND[kind]
    )


def _kinds() -> dict[str, list[Schema]]:
    found: dict[str, list[Schema]] = {kind: [] for kind in KINDS}
    for name in fields.__all__:
        declared: Any = getattr(fields, name)
        if hasattr(declared, "__metadata__"):
            schema = TypeAdapter(Annotated[declared, None]).json_schema()
            found[schema["x-kind"]].append(schema)
    return found


_BY_KIND: Final = _kinds()


def _unread(kind: EventType) -> Iterator[str]:
    """A sample that its own model refuses: the schema promises less than a reader insists on."""
    for size, sample in samples_of(kind).items():
        try:
            kind.envelope.model_validate_json(json.dumps(sample))
        except ValidationError as error:
            for problem in error.errors(include_url=False, include_input=False):
                yield f"the {size} sample is not read: {'.'.join(map(str, problem['loc']))}: {problem['type']}"


def _left_out(schema: Schema, value: Any, at: str) -> Iterator[str]:
    """Fields that the sample does not show."""
    schema = variant_of(schema, value)
    if isinstance(value, dict):
        for name, field in schema.get("properties", {}).items():
            if name in value:
                yield from _left_out(field, value[name], f"{at}.{name}")
            else:
                yield f"the sample leaves out {at}.{name}"
    elif isinstance(value, list):
        if not value:
            yield f"the sample shows no item of {at}"
        for item in value:
            yield from _left_out(schema["items"], item, f"{at}[]")
