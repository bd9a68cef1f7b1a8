"""The few kinds of text that may stand on the bus. A plain ``str`` may not: it could hold a name or a note.

Each kind is bounded, has a pattern that leaves no room for a sentence, and names itself in the exported JSON Schema
(``x-kind``); ``schemas.rules`` refuses any other text. Instants and calendar dates are pydantic's ``AwareDatetime`` and
``date``; a closed list of words is a ``StrEnum`` or a ``Literal``.
"""

import re
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import AwareDatetime, BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic.fields import FieldInfo

from schemas.envelope import EventData

__all__ = [
    "HEALTH_KINDS",
    "KINDS",
    "Code",
    "CodeSystem",
    "Concept",
    "DecimalText",
    "EventTypeName",
    "Language",
    "Measure",
    "OpaqueId",
    "PatientId",
    "Revision",
    "Sha256",
    "Sha256Prefix",
    "SourcePath",
    "TopicName",
    "UcumUnit",
    "Zone",
    "ZonedInstant",
    "in_unit",
    "open_code",
]

KINDS: Final = MappingProxyType(
    {
        "patient-id": "opaque id of a patient (UUID)",
        "opaque-id": "opaque id of anything else (UUID)",
        "source": "an aggregate instance, as in the envelope's source",
        "code": "a machine's word: code, reason",
        "revision": "revision of a programme's thresholds: programme/date/digest",
        "code-system": "URI of a code system",
        "decimal": "an exact number in plain decimal notation",
        "ucum-unit": "UCUM unit",
        "zone": "IANA time zone",
        "language": "BCP 47 language tag",
        "sha256": "SHA-256 in hex",
        "sha256-prefix": "the first 16 hex digits of a SHA-256",
        "topic": "Kafka topic",
        "event-type": "event type, or `unknown`",
    }
)
"""What a kind means. Every text field of every event is one of these, an enumeration, a constant, or a time."""

HEALTH_KINDS: Final = frozenset({"patient-id", "decimal", "ucum-unit", "code-system", "language"})
"""Kinds that speak of a patient: an event whose data class is ``operational`` has none of them."""


def _kind(name: str, **more: Any) -> dict[str, Any]:
    return {"x-kind": name, **more}


PatientId = Annotated[UUID, Field(json_schema_extra=_kind("patient-id"))]
OpaqueId = Annotated[UUID, Field(json_schema_extra=_kind("opaque-id"))]
SourcePath = Annotated[
    str, Field(min_length=2, max_length=200, pattern=r"^/[A-Za-z0-9/_.:-]+$", json_schema_extra=_kind("source"))
]
Code = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$", json_schema_extra=_kind("code"))]
Revision = Annotated[str, Field(max_length=100, pattern=r"^[a-z_]+/[0-9-]+/[0-9a-f]+$", json_schema_extra=_kind("revision"))]
CodeSystem = Annotated[
    str,
    Field(
        max_length=200,
        pattern=r"^(https?://[a-z0-9.-]+(/[A-Za-z0-9._/-]*)?|urn:[a-z0-9-]+:[A-Za-z0-9._:-]+)$",
        json_schema_extra=_kind("code-system"),
    ),
]
UcumUnit = Annotated[
    str, Field(max_length=32, pattern=r"^[A-Za-z0-9\[\]{}()*'./%^+_-]+$", json_schema_extra=_kind("ucum-unit"))
]
Zone = Annotated[
    str, Field(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$", json_schema_extra=_kind("zone"))
]
Language = Annotated[
    str, Field(max_length=35, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$", json_schema_extra=_kind("language"))
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", json_schema_extra=_kind("sha256"))]
Sha256Prefix = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", json_schema_extra=_kind("sha256-prefix"))]
TopicName = Annotated[str, Field(max_length=249, pattern=r"^[A-Za-z0-9._-]+$", json_schema_extra=_kind("topic"))]
EventTypeName = Annotated[
    str, Field(max_length=200, pattern=r"^(unknown|[a-z][a-z0-9_.-]*\.v[1-9][0-9]*)$", json_schema_extra=_kind("event-type"))
]

_DECIMAL = r"^-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,12})?$"


def _decimal(value: object) -> Decimal:
    text = f"{value:f}" if isinstance(value, Decimal) else value
    # \Z, because $ also matches before a line break at the end.
    if not isinstance(text, str) or not re.match(_DECIMAL.removesuffix("$") + r"\Z", text, re.ASCII):
        raise ValueError("must be a decimal number as text, such as 0.50; never a JSON number")
    return Decimal(text)


DecimalText = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    PlainSerializer(lambda value: f"{value:f}", when_used="json"),
    WithJsonSchema({"type": "string", "maxLength": 26, "pattern": _DECIMAL, "x-kind": "decimal"}),
]
"""Text on the wire, so that no reader turns it into a binary float; trailing zeros are kept."""


def in_unit(unit: str) -> Any:
    """Metadata of a whole number whose unit is fixed: ``minutes: Annotated[int, in_unit("min"), Field(ge=0)]``."""
    field: FieldInfo = Field(json_schema_extra={"x-unit": unit})
    return field


def open_code(known: type[StrEnum]) -> Any:
    """Metadata of a ``Code`` whose list may grow within a major: ``Annotated[Code, open_code(Reason)]``.

    The field keeps the raw text; a reader maps what it does not know to a word of its own for "other".
    """
    field: FieldInfo = Field(json_schema_extra=_kind("code", **{"x-known": [str(member) for member in known]}))
    return field


class Measure(EventData):
    """A number with its unit.

    Attributes:
        value: the number.
        unit: its UCUM unit.
    """

    value: DecimalText
    unit: UcumUnit


class Concept(EventData):
    """A concept in a public code system; what it is called stands in the system, not here.

    Attributes:
        system: URI of the code system.
        code: the code there.
    """

    system: CodeSystem
    code: Code


class ZonedInstant(EventData):
    """An instant, and the zone in which people there read the clock.

    Attributes:
        at: the instant.
        zone: the zone.
    """

    at: AwareDatetime
    zone: Zone
