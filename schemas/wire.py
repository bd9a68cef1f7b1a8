"""The JSON Schema (2020-12) and the golden samples of an event, in exactly the form that goes over the wire.

A schema is one flat document without references: a reader sees a whole event in one file, and two versions of a file can
be compared without resolving anything.
"""

import inspect
import json
import re
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import CoreSchema, ModelSchema

from schemas.envelope import Envelope, EventData
from schemas.registry import EventType

__all__ = ["DIALECT", "MissingSample", "Schema", "full_sample", "minimal_sample", "samples_of", "schema_of", "variant_of"]

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

ATTRIBUTES: Final = (
    "specversion", "id", "source", "type", "time", "recordedtime", "datacontenttype", "dataschema", "partitionkey",
    "sequence", "epoch", "correlationid", "causationid", "traceparent", "data",
)  # fmt: skip
"""In the order in which the documents show them."""
OPTIONAL_ATTRIBUTES: Final = frozenset({"correlationid", "causationid", "traceparent"})
"""Everything else is always written, also what a tolerant reader could do without."""


class MissingSample(ValueError):
    """A registry row has no sample, or one of another model."""


def schema_of(kind: EventType) -> Schema:
    """The schema of a whole event of this type, with the schema of its data inside (named by ``dataschema``)."""
    generated = _flat(kind.envelope.model_json_schema(schema_generator=_Wire, mode="validation"))
    properties = generated["properties"]
    for name, value in (("type", kind.name), ("dataschema", kind.dataschema)):
        properties[name] = {"type": "string", "const": value, "description": properties[name]["description"]}
    for name in ("specversion", "datacontenttype"):
        properties[name].pop("default", None)
    summary, _ = _documented(kind.data)
    properties["data"] = {"$id": kind.dataschema, **properties["data"], "description": summary}
    return {
        "$schema": DIALECT,
        "$id": f"urn:telemed:event:{kind.short}",
        "title": kind.name,
        "description": summary,
        "x-data-class": str(kind.data_class),
        "type": "object",
        "properties": {name: properties[name] for name in ATTRIBUTES},
        "required": [name for name in ATTRIBUTES if name not in OPTIONAL_ATTRIBUTES],
    }


class _Wire(GenerateJsonSchema):
    """Descriptions from the docstrings, no titles made up from names, and no null where the wire has none."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        summary, fields = _documented(schema["cls"])
        made["description"] = summary
        required = made.get("required", [])
        for name, field in made.get("properties", {}).items():
            if name in fields:
                field["description"] = fields[name]
            if name not in required and field.get("default", ...) is None:
                _never_null(field)
        return made

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        # Always as anyOf, whatever the inner schema looks like: _never_null takes it apart again.
        inner: CoreSchema = schema["schema"]
        return {"anyOf": [self.generate_inner(inner), {"type": "null"}]}

    def tagged_union_schema(self, schema: Any) -> JsonSchemaValue:
        # A discriminator points at definitions, of which a flat schema has none; the constants tell the branches apart.
        made = super().tagged_union_schema(schema)
        made.pop("discriminator", None)
        return made


def _never_null(field: Schema) -> None:
    """An event is written without its empty fields: an optional one is left out, it is not null."""
    del field["default"]
    if "anyOf" in field:
        branches = [branch for branch in field.pop("anyOf") if branch != {"type": "null"}]
        field |= {**branches[0], **field} if len(branches) == 1 else {"anyOf": branches}


def _documented(model: type) -> tuple[str, dict[str, str]]:
    """A docstring taken apart: what the model is, and what each field is (its ``Attributes:`` section, inherited ones too)."""
    if issubclass(model, Envelope):
        model = Envelope
    fields: dict[str, str] = {}
    for base in reversed([base for base in model.__mro__ if issubclass(base, (EventData, Envelope))]):
        _, _, section = inspect.cleandoc(base.__doc__ or "").partition("\nAttributes:\n")
        for name, text in re.findall(r"^    (\w+): (.+(?:\n      .+)*)", section, re.MULTILINE):
            fields[name] = " ".join(text.split())
    own = model.__doc__ if model.__dict__.get("__doc__") else ""
    return " ".join(inspect.cleandoc(own or "").partition("\nAttributes:\n")[0].split()), fields


def _flat(schema: Schema) -> Schema:
    definitions = schema.pop("$defs", {})

    def walk(node: Any, above: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            return [walk(item, above) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            name = node["$ref"].removeprefix("#/$defs/")
            if name in above:
                raise ValueError(f"{name} contains itself: an event is a finite fact")
            beside = {key: value for key, value in node.items() if key != "$ref"}
            return walk({**definitions[name], **beside}, (*above, name))
        return {key: walk(value, above) for key, value in node.items()}

    return walk(schema, ())  # type: ignore[no-any-return]


def full_sample(kind: EventType) -> Schema:
    """An event with every attribute and field, around the sample of the registry row.

    Raises:
        MissingSample: see the class.
    """
    if type(kind.sample) is not kind.data:
        raise MissingSample(f"{kind.name} has no sample of {kind.data.__name__}")
    event = kind.envelope(
        id=UUID("019ab1c2-7d40-7a3b-8c4d-5e6f70819203"),
        source=f"/{kind.owner}/samples/7d0c7f3e-52f1-4b0a-9d5e-0c6f6a1b2c3d",
        type=kind.name,
        time=datetime(2026, 11, 23, 15, 4, tzinfo=UTC),
        recordedtime=datetime(2026, 11, 23, 15, 4, 2, 118000, tzinfo=UTC),
        dataschema=kind.dataschema,
        partitionkey="5f3e8a52-0b1d-4c6e-9a7f-2d8b4c6e0f13",
        sequence=14,
        epoch=1,
        correlationid="019ab0f4-1111-7222-8333-444455556666",
        causationid="019ab1c2-0000-7111-8222-333344445555",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        data=kind.sample,
    )
    sample: Schema = json.loads(event.encode())
    return {name: sample[name] for name in ATTRIBUTES}


def minimal_sample(kind: EventType) -> Schema:
    """The same event with nothing but what every event of its type has.

    Raises:
        MissingSample: see the class.
    """
    least: Schema = _least(schema_of(kind), full_sample(kind))
    return least


def samples_of(kind: EventType) -> dict[str, Schema]:
    """Both golden samples, by name."""
    return {"full": full_sample(kind), "minimal": minimal_sample(kind)}


def _least(schema: Schema, value: Any) -> Any:
    schema = variant_of(schema, value)
    if isinstance(value, dict):
        return {
            name: _least(schema["properties"][name], item) for name, item in value.items() if name in schema.get("required", ())
        }
    if isinstance(value, list):
        return [_least(schema["items"], item) for item in value[: schema.get("minItems", 0)]]
    return value


def variant_of(schema: Schema, value: Any) -> Schema:
    """The branch of a union that a value is written in: for objects the one whose constants and required fields it has."""

    def fits(branch: Schema) -> bool:
        if not isinstance(value, dict):
            names = {"string": str, "integer": int, "boolean": bool, "array": list}
            return branch.get("type") in names and isinstance(value, names[branch["type"]])
        constants = {name: field["const"] for name, field in branch.get("properties", {}).items() if "const" in field}
        return set(branch.get("required", ())) <= value.keys() and all(value.get(n, c) == c for n, c in constants.items())

    branches = [branch for key in ("anyOf", "oneOf") for branch in schema.get(key, ())]
    return next((branch for branch in branches if fits(branch)), schema)
