"""Types that requests are made of: strict, bounded, and refused with a code of their own."""

import re
import unicodedata
import zoneinfo
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

__all__ = [
    "TEXT_FORMS", "Code", "Date", "Id", "Instant", "Int64", "Line", "LocalTime", "Note", "Number", "Quantity", "Region",
    "Request", "Response", "Zone",
    "field_error",
]  # fmt: skip


class Request(BaseModel):
    """Base of every request body and of parameters: nothing is coerced, nothing unknown is taken."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Response(BaseModel):
    """Base of every response body."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def field_error(code: str, pointer: str = "") -> PydanticCustomError:
    """To be raised by a validator; ``pointer`` names the field to blame, counted from the model whose validator it is."""
    # pydantic's error types are snake_case by convention; ours are the codes that clients see.
    return PydanticCustomError(code, "refused", {"pointer": pointer} if pointer else None)


# --- text ----------------------------------------------------------------------------------------------------------------

_CONTROL_SET = r"\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\ufdd0-\ufdef\ufffe\uffff"
_INVISIBLE_SET = r"\u00ad\u200b\u2060-\u2064\ufeff\ufff9-\ufffb"
_BIDI_SET = r"\u202a-\u202e\u2066-\u2069"
_CONTROL, _INVISIBLE, _BIDI = (re.compile(f"[{found}]") for found in (_CONTROL_SET, _INVISIBLE_SET, _BIDI_SET))
_NOT_IN_TEXT = _CONTROL_SET + _INVISIBLE_SET + _BIDI_SET
# The same for clients, as the schema says it. A line neither begins nor ends with a space.
_NOTE_FORM = f"^[^{_NOT_IN_TEXT}]*$"
_LINE_FORM = rf"^[^\s{_NOT_IN_TEXT}]([^\t\n{_NOT_IN_TEXT}]*[^\s{_NOT_IN_TEXT}])?$"


def _text(value: object) -> object:
    """NFC, so that the same name typed on two machines is the same text; nothing that hides or reorders what is read.

    Joiners and direction marks that scripts and emoji need (U+200C-U+200F) are kept.
    """
    if not isinstance(value, str):
        return value
    if _CONTROL.search(value):
        raise field_error("control-character")
    if _BIDI.search(value):
        raise field_error("bidi-control")
    if _INVISIBLE.search(value):
        raise field_error("invisible-character")
    return unicodedata.normalize("NFC", value)


def _one_line(value: str) -> str:
    if "\n" in value or "\t" in value:
        raise field_error("control-character")
    if value != value.strip():
        raise field_error("outer-space")
    return value


TEXT_FORMS = (_LINE_FORM, _NOTE_FORM)
"""Patterns, in a schema, of texts for people."""
Line = Annotated[
    str,
    BeforeValidator(_text),
    AfterValidator(_one_line),
    Field(min_length=1, max_length=200, json_schema_extra={"pattern": _LINE_FORM}),
]
"""One line of text for people: names, titles."""
Note = Annotated[str, BeforeValidator(_text), Field(max_length=100_000, json_schema_extra={"pattern": _NOTE_FORM})]
"""Free text of any number of lines. It never leaves the service that owns it."""
Code = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$")]
"""A code or opaque id."""
Region = Annotated[str, Field(pattern=r"^[A-Z]{2}-[A-Z0-9]{1,3}$", examples=["US-NY"])]
"""ISO 3166-2 code of a state or province."""
Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
"""What PostgreSQL's bigint holds."""

# --- ids -----------------------------------------------------------------------------------------------------------------

_UUID_FORM = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_UUID = re.compile(_UUID_FORM)


def _uuid(value: object) -> object:
    # One spelling only (no urn:, no braces, no capitals): two spellings of one id would be two keys somewhere.
    if isinstance(value, UUID):
        return value
    if not isinstance(value, str):
        raise field_error("not-a-string")
    if not _UUID.fullmatch(value):
        raise field_error("not-a-uuid")
    if value == "00000000-0000-0000-0000-000000000000":
        raise field_error("nil-uuid")
    return UUID(value)


Id = Annotated[
    UUID,
    BeforeValidator(_uuid),
    WithJsonSchema({"type": "string", "format": "uuid", "pattern": _UUID_FORM, "not": {"const": str(UUID(int=0))}}),
]
"""An opaque id: a lower-case UUID, not the nil one."""

# --- time ----------------------------------------------------------------------------------------------------------------

_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})")
_LOCAL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?")
# For clients: what of it is in range.
_DAY_FORM = r"(19|2[01])[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]"
_INSTANT_FORM = rf"^{_DAY_FORM}:[0-5][0-9](\.[0-9]{{1,6}})?(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))$"
_LOCAL_FORM = rf"^{_DAY_FORM}(:[0-5][0-9])?$"
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def _instant(value: object) -> object:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise field_error("not-an-instant")
    if not _INSTANT.fullmatch(value):
        raise field_error("no-offset" if _LOCAL.fullmatch(value) else "not-an-instant")
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise field_error("not-an-instant") from None
    if abs(found.utcoffset() or timedelta()) > timedelta(hours=14):
        raise field_error("out-of-range")
    try:
        found = found.astimezone(UTC)
    except OverflowError:
        raise field_error("out-of-range") from None
    if not _FIRST <= found < _LAST:
        raise field_error("out-of-range")
    return found


def _local(value: object) -> object:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _LOCAL.fullmatch(value):
        raise field_error("not-a-local-time")
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise field_error("not-a-local-time") from None
    if not _FIRST.year <= found.year < _LAST.year:
        raise field_error("out-of-range")
    return found


def _rfc3339(value: datetime) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    PlainSerializer(_rfc3339, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _INSTANT_FORM}),
]
"""A moment: RFC 3339 with an offset, kept as UTC. A time without an offset is nobody's time."""
LocalTime = Annotated[datetime, BeforeValidator(_local), WithJsonSchema({"type": "string", "pattern": _LOCAL_FORM})]
"""What a wall clock shows; its zone is given apart."""


_DATE_FORM = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_DATE = re.compile(_DATE_FORM)
_DATE_TAKEN = r"^(19|2[01])[0-9]{2}-[0-9]{2}-[0-9]{2}$"
"""In the schema: also the years that are taken. What is parsed is looser, so that another year is told from no date."""


def _date(value: object) -> object:
    if isinstance(value, date):
        return value
    if not isinstance(value, str) or not _DATE.match(value):
        raise field_error("not-a-date")
    try:
        found = date.fromisoformat(value)
    except ValueError:
        raise field_error("not-a-date") from None
    if not _FIRST.year <= found.year < _LAST.year:
        raise field_error("out-of-range")
    return found


Date = Annotated[date, BeforeValidator(_date), WithJsonSchema({"type": "string", "format": "date", "pattern": _DATE_TAKEN})]
"""A calendar date; where it is one of somewhere, the zone is given apart."""


@cache
def _zones() -> frozenset[str]:
    # Names of the IANA data only: nothing a client sends ever becomes part of a path.
    return frozenset(zoneinfo.available_timezones())


def _zone(value: str) -> str:
    if value not in _zones():
        raise field_error("unknown-zone")
    return value


Zone = Annotated[
    str,
    AfterValidator(_zone),
    Field(max_length=40, examples=["America/New_York"], json_schema_extra={"pattern": "^[A-Za-z][A-Za-z0-9_+/-]*$"}),
]
"""An IANA time zone."""

# --- quantities ----------------------------------------------------------------------------------------------------------

_DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,11})(\.[0-9]{1,9})?")


def _decimal(value: object) -> object:
    """Text on the wire: a JSON number would pass through a float somewhere, and 0.1 mg is not 0.1000000000000000055 mg."""
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise field_error("not-a-decimal")
    found = Decimal(value)
    if found.is_zero() and value.startswith("-"):
        raise field_error("negative-zero")
    return found


Number = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    PlainSerializer(lambda number: format(number, "f"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^(0|-?[1-9][0-9]{0,11})(\.[0-9]{1,9})?$", "examples": ["0.50"]}),
]
"""An exact decimal number, as text."""
Unit = Annotated[str, Field(min_length=1, max_length=30, pattern=r"^[!-~]+$", examples=["mg/kg"])]
"""A UCUM code."""


class Quantity(Request):
    """An exact number with its unit; neither is ever left out, guessed or converted here."""

    value: Number
    unit: Unit

    def __str__(self) -> str:
        return f"{self.value:f} {self.unit}"
